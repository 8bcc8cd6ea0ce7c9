"""The engine `cached_db` beside the Rust library's store of that name, on one database and one Redis."""

import http.client
import socket
import threading
import time
from unittest import skipUnless
from urllib.parse import urlsplit

import servers
import service
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.db import connection
from django.test import override_settings
from support import in_thread
from test_cache import redis, redis_url
from test_cached_db import Copies as CopiesTests
from test_site_servers import SiteServers

from django_cloakroom.cached_db import MARKER_AGE, SessionStore


class Proxy:
    """Between the Rust service and Redis. Holds back what the service writes, until it is let through."""

    def __init__(self, url):
        self.upstream = urlsplit(url)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.holds = threading.Event()
        self.let_through = threading.Event()
        self.let_through.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        port = self.listener.getsockname()[1]
        return self.upstream._replace(netloc=f":{self.upstream.password}@127.0.0.1:{port}").geturl()

    def hold(self):
        self.holds = threading.Event()
        self.let_through.clear()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection((self.upstream.hostname, self.upstream.port))
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source, target, to_redis):
        try:
            while data := source.recv(65536):
                # A copy is put there by SET with NX.
                if to_redis and b"\r\nNX\r\n" in data and not self.let_through.is_set():
                    self.holds.set()
                    self.let_through.wait(60)
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()


@skipUnless(connection.vendor != "sqlite", "for the databases of sites with several processes")
@override_settings(USE_TZ=True)
class BesideRust(SiteServers):
    test_fifty_requests_leave_fifty_keys = test_djangos_engines_lose_some = None
    store = SessionStore
    read_while = CopiesTests.read_while
    copy = CopiesTests.copy

    def setUp(self):
        super().setUp()
        self.stops = []
        self.addCleanup(lambda: [stop() for stop in self.stops])
        cache = override_settings(CACHES={"default": redis()})
        cache.enable()
        self.addCleanup(cache.disable)
        self.addCleanup(caches.close_all)
        self.cache = caches["default"]
        self.cache.clear()
        self.proxy = Proxy(redis_url())
        self.addCleanup(self.proxy.listener.close)
        port = servers._free_port()
        longer = "?timeout=20" if connection.vendor == "mysql" else ""
        url = f"cached_db:{service.database_url(connection.settings_dict)}{longer}|{self.proxy.url}"
        self.rust_port = self.start_program(*service.command(settings.SECRET_KEY, url, port), port)

    def rust(self, path, session_key):
        """The Rust service's answer: its status, and the session's keys."""
        client = http.client.HTTPConnection("127.0.0.1", self.rust_port, timeout=60)
        client.request("GET", path, headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={session_key}"})
        response = client.getresponse()
        body = response.read().decode()
        client.close()
        return response.status, body.split()

    def uncached(self, **items):
        session_key = self.stored(**items)
        self.cache.clear()
        return session_key

    def rust_reads_while(self, work, session_key):
        """A reader of the Rust service: `work` happens after it has read the row and before it puts its copy."""
        self.proxy.hold()
        answers = []
        reader = threading.Thread(target=lambda: answers.append(self.rust("/keys", session_key)))
        reader.start()
        self.assertTrue(self.proxy.holds.wait(30), "the reader puts no copy")
        try:
            work()
        finally:
            self.proxy.let_through.set()
            reader.join()
        return answers[0]

    def test_a_logout_here_and_a_reader_there(self):
        session_key = self.uncached(user=7)
        answer = self.rust_reads_while(lambda: SessionStore(session_key).flush(), session_key)
        self.assertEqual(answer, (200, ["user"]))
        self.assertEqual(self.rust("/keys", session_key), (200, []))
        self.assertEqual(self.items(session_key), {})
        self.assertIsNone(self.copy(session_key))

    def test_a_logout_there_and_a_reader_here(self):
        session_key = self.uncached(user=7)
        logout = lambda: self.assertEqual(self.rust("/sign_out", session_key)[0], 200)
        self.assertEqual(self.read_while(logout, SessionStore, session_key), {"user": 7})
        self.assertEqual(self.items(session_key), {})
        self.assertEqual(self.rust("/keys", session_key), (200, []))
        self.assertEqual(Session.objects.count(), 0)

    def test_a_new_key_here_and_a_reader_there(self):
        session_key = self.uncached(user=7)
        session = SessionStore(session_key)
        self.rust_reads_while(session.cycle_key, session_key)
        self.assertEqual(self.rust("/keys", session_key), (200, []))
        self.assertEqual(self.rust("/keys", session.session_key), (200, ["user"]))

    def change(self, session_key):
        session = SessionStore(session_key)
        session["changed"] = True
        session.save()

    def test_a_change_here_and_a_reader_there(self):
        session_key = self.uncached(user=7)
        answer = self.rust_reads_while(lambda: self.change(session_key), session_key)
        self.assertEqual(answer, (200, ["user"]))
        for _time in range(2):
            self.assertEqual(self.rust("/keys", session_key), (200, ["changed", "user"]))
            self.assertEqual(self.items(session_key), {"user": 7, "changed": True})

    @skipUnless(connection.vendor == "mysql", "PostgreSQL's store gives a request up after 5 seconds, whatever its URL")
    def test_a_reader_there_that_took_longer_than_half_of_a_changes_marker(self):
        session_key = self.uncached(user=7)
        answers = []
        reader = threading.Thread(target=lambda: answers.append(self.rust("/keys", session_key)))
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLES django_session WRITE")
            reader.start()
            time.sleep(MARKER_AGE / 2 + 0.5)
            cursor.execute("UNLOCK TABLES")
        reader.join()
        self.assertEqual(answers, [(200, ["user"])])
        self.assertEqual(self.copy(session_key), "nothing")

    def test_a_change_there_and_a_reader_here(self):
        session_key = self.uncached(user=7)
        visit = lambda: self.assertEqual(self.rust("/visit/changed", session_key)[0], 200)
        self.assertEqual(self.read_while(visit, SessionStore, session_key), {"user": 7})
        expected = {"user": 7, "changed": True, "count": 1}
        self.assertEqual(self.items(session_key), expected)
        self.assertEqual(self.rust("/keys", session_key), (200, sorted(expected)))

    def test_a_logout_there_over_the_marker_of_a_change_here(self):
        session_key = self.stored(user=7)
        self.change(session_key)
        self.assertIsNone(self.copy(session_key))
        self.assertEqual(self.rust("/sign_out", session_key)[0], 200)
        self.assertEqual(self.items(session_key), {})
        self.assertEqual(self.rust("/keys", session_key), (200, []))

    def test_changes_in_turn_are_seen_by_both(self):
        session_key = self.stored(user=7)
        for number in range(4):
            in_thread(lambda: self.change(session_key))
            self.assertEqual(self.rust(f"/visit/key{number}", session_key)[0], 200)
            expected = {"user": 7, "changed": True, "count": number + 1}
            expected.update((f"key{earlier}", True) for earlier in range(number + 1))
            self.assertEqual(self.items(session_key), expected)
            self.assertEqual(self.rust("/keys", session_key), (200, sorted(expected)))
