"""
Fifty requests at once on one session: through gunicorn's processes and threads, uvicorn's async views, and a Rust
service on the library. Each leaves a key of its own, and one more on a counter.

CLOAKROOM_FULL_MATRIX=1 runs each engine with ATOMIC_REQUESTS on and off and at each isolation level, and Django's own
engines too, which lose keys. Otherwise each engine meets one of them. The engine `signed_cookies` is not here: nothing
is kept on the server, so of fifty responses the browser keeps the last one's cookie.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from unittest import skipUnless

import servers
import service
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.db import connection
from django.test import override_settings
from support import StoreTestCase, in_threads
from test_cache import memcached, redis

REQUESTS = 50
HERE = Path(__file__).resolve().parent
IS_FULL = bool(os.environ.get("CLOAKROOM_FULL_MATRIX"))
# As Django's `OPTIONS` of each database name it.
REPEATABLE_READ = {"postgresql": 3, "mysql": "repeatable read"}.get(connection.vendor)
READ_COMMITTED = {"postgresql": 2, "mysql": "read committed"}.get(connection.vendor)
ENGINES = [("db", redis), ("cached_db", redis), ("cache", redis), ("cache", memcached), ("file", redis)]


def matrix():
    """Engines, the cache, ATOMIC_REQUESTS and the isolation level."""
    if IS_FULL:
        levels = (READ_COMMITTED, REPEATABLE_READ)
        return [(*engine, atomic, level) for engine in ENGINES for atomic in (False, True) for level in levels]
    atomic_and_levels = [
        (False, READ_COMMITTED),
        (True, REPEATABLE_READ),
        (True, READ_COMMITTED),
        (False, REPEATABLE_READ),
        (False, READ_COMMITTED),
    ]
    short = [(*engine, *rest) for engine, rest in zip(ENGINES, atomic_and_levels)]
    return [*short, ("db", redis, True, REPEATABLE_READ)]


@skipUnless(connection.vendor != "sqlite", "for the databases of sites with several processes")
@override_settings(USE_TZ=True)
class SiteServers(StoreTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for name in ("django_cloakroom", "django.contrib.sessions.backends"):
            store = import_module(f"{name}.file").SessionStore
            if "_storage_path" in vars(store):
                del store._storage_path

    def start(self, *command, **of_test):
        command = [sys.executable, "-m", *command]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
            "CLOAKROOM_TEST_SETTINGS": json.dumps(of_test, default=str),
        }
        return self.start_program(command, environment)

    def start_program(self, command, environment, port=None):
        port = port or servers._free_port()
        command = [word.format(port=port) for word in command]
        log = tempfile.TemporaryFile()
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

        def stop():
            process.terminate()
            process.wait()
            log.close()

        self.stops.append(stop)
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

    def visit_at_once(self, engine, caches, is_atomic, level):
        """The count and the number of keys after fifty requests."""
        self.stops = []
        try:
            return self.visit_servers(engine, caches, is_atomic, level)
        finally:
            for stop in self.stops:
                stop()

    def visit_servers(self, engine, caches, is_atomic, level):
        options = {**connection.settings_dict.get("OPTIONS", {}), "isolation_level": level}
        database = {**connection.settings_dict, "ATOMIC_REQUESTS": is_atomic, "OPTIONS": options}
        of_test = {
            "DATABASES": {"default": database},
            "SESSION_ENGINE": engine,
            "CACHES": caches,
            "SESSION_FILE_PATH": self.folder,
            "USE_TZ": True,
        }
        options = ["--workers", "2", "--threads", "10", "--bind", "127.0.0.1:{port}"]
        gunicorn = self.start("gunicorn", *options, "site_server:wsgi", **of_test)
        uvicorn = self.start("uvicorn", "--log-level", "warning", "--port", "{port}", "site_server:asgi", **of_test)
        # Async views cannot be atomic, in no Django so far; before 5.1 sessions are not async.
        is_async = not is_atomic and hasattr(DjangoStore, "asave")
        port = servers._free_port()
        url = service.store_url(engine, connection.settings_dict, caches, self.folder)
        rust = self.start_program(*service.command(settings.SECRET_KEY, url, port), port)
        ports = [(gunicorn, "visit"), (uvicorn, "avisit" if is_async else "visit"), (rust, "visit")]
        with override_settings(CACHES=caches, SESSION_FILE_PATH=self.folder):
            store = import_module(engine).SessionStore
            first = store()
            first["count"] = 0
            first.save()

            def request(number, wait):
                port, view = ports[number % len(ports)]
                wait()
                status = self.get(port, f"/{view}/key{number}", first.session_key)
                assert status == 200, (ports[number % len(ports)], status)

            self.assertEqual(in_threads(REQUESTS, request), [])
            if engine.endswith("cached_db"):
                # What is stored, and not a copy of a moment ago.
                store = import_module(engine.replace("cached_db", "db")).SessionStore
            items = dict(store(first.session_key).items())
        return items.pop("count"), len(items)

    def test_fifty_requests_leave_fifty_keys(self):
        for name, cache, is_atomic, level in matrix():
            caches = {"default": cache()}
            with self.subTest(engine=name, cache=cache.__name__, ATOMIC_REQUESTS=is_atomic, level=level):
                found = self.visit_at_once(f"django_cloakroom.{name}", caches, is_atomic, level)
                self.assertEqual(found, (REQUESTS, REQUESTS))

    def test_djangos_engines_lose_some(self):
        # So the test above can fail.
        engines = ENGINES if IS_FULL else [("db", redis), ("file", redis)]
        for name, cache in engines:
            caches = {"default": cache()}
            with self.subTest(engine=name, cache=cache.__name__):
                engine = f"django.contrib.sessions.backends.{name}"
                _count, keys = self.visit_at_once(engine, caches, False, READ_COMMITTED)
                self.assertLess(keys, REQUESTS)
                print(f"Django's {name} on {cache.__name__}: {keys} of {REQUESTS} keys", file=sys.stderr)
