"""Fifty requests at once on one session, through gunicorn's processes and threads and uvicorn's async views."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import skipUnless

import servers
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.db import connection
from django.test import override_settings
from support import StoreTestCase, in_threads
from test_cache import redis

from django_cloakroom.cache import SessionStore as CacheStore
from django_cloakroom.cached_db import SessionStore as CachedStore
from django_cloakroom.db import SessionStore

REQUESTS = 50
HERE = Path(__file__).resolve().parent


class SiteServers(StoreTestCase):
    def start(self, *command, **of_test):
        port = servers._free_port()
        command = [word.format(port=port) for word in command]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
            "CLOAKROOM_TEST_SETTINGS": json.dumps(of_test, default=str),
        }
        log = tempfile.TemporaryFile()
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log)

        def stop():
            process.terminate()
            process.wait()
            log.close()

        self.addCleanup(stop)
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            try:
                self.get(port, "/sign_out")
                return port
            except OSError:
                time.sleep(0.2)
        log.seek(0)
        raise AssertionError(log.read().decode())

    def get(self, port, path, session_key=""):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", path, headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={session_key}"})
        response = client.getresponse()
        response.read()
        client.close()
        return response.status

    def visit_at_once(self, store, engine, is_atomic, caches):
        database = {**connection.settings_dict, "ATOMIC_REQUESTS": is_atomic}
        of_test = {"DATABASES": {"default": database}, "SESSION_ENGINE": engine, "CACHES": caches}
        options = ["--workers", "2", "--threads", "10", "--bind", "127.0.0.1:{port}"]
        gunicorn = self.start("gunicorn", *options, "site_server:wsgi", **of_test)
        ports = [(gunicorn, "visit")]
        # Async views cannot be atomic, in no Django so far; before 5.1 sessions are not async.
        if not is_atomic and hasattr(DjangoStore, "asave"):
            uvicorn = self.start("uvicorn", "--log-level", "warning", "--port", "{port}", "site_server:asgi", **of_test)
            ports.append((uvicorn, "avisit"))
        with override_settings(CACHES=caches):
            first = store()
            first["count"] = 0
            first.save()

            def request(number, wait):
                port, view = ports[number % len(ports)]
                wait()
                status = self.get(port, f"/{view}/key{number}", first.session_key)
                assert status == 200, status

            self.assertEqual(in_threads(REQUESTS, request), [])
            items = dict(store(first.session_key).items())
        return items.pop("count"), len(items)

    @skipUnless(connection.vendor != "sqlite", "for the databases of sites with several processes")
    def test_fifty_requests_leave_fifty_keys(self):
        caches = {"default": redis()}
        for is_atomic in (False, True):
            for store in (SessionStore, CachedStore, CacheStore):
                with self.subTest(engine=store.__module__, ATOMIC_REQUESTS=is_atomic):
                    found = self.visit_at_once(store, store.__module__, is_atomic, caches)
                    self.assertEqual(found, (REQUESTS, REQUESTS))

    @skipUnless(connection.vendor != "sqlite", "for the databases of sites with several processes")
    def test_djangos_engine_loses_some(self):
        # So the test above can fail.
        _count, keys = self.visit_at_once(DjangoStore, DjangoStore.__module__, False, {"default": redis()})
        self.assertLess(keys, REQUESTS)
