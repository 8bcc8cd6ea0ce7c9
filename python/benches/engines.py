"""
What the engines cost beside Django's: CPU time, latency and statements, for read, change, new and login.

    python benches/engines.py --django-tests FOLDER --database postgres

Both run in one process, in turn, so that both meet the same machine. The median of rounds counts.
"""

import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

ROUNDS, CALLS = 15, 60


def main():
    import run

    run.main(bench)


def bench():
    from importlib import import_module

    import django
    from django.conf import settings
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    engines = [
        "django.contrib.sessions.backends.db",
        "django_cloakroom.db",
        "django_cloakroom.db, one move",
        "django.contrib.sessions.backends.cached_db",
        "django_cloakroom.cached_db",
        "django.contrib.sessions.backends.file",
        "django_cloakroom.file",
        "django_cloakroom.file, not durable",
    ]
    folder = tempfile.TemporaryDirectory()
    settings.SESSION_FILE_PATH = folder.name

    def store_of(engine):
        store = import_module(engine.partition(",")[0]).SessionStore
        return type("SessionStore", (store,), {"durable": False}) if engine.endswith("not durable") else store

    data = {"_auth_user_id": "7", "_auth_user_hash": "x" * 64, "cart": [{"id": n, "count": 1} for n in range(20)]}

    def session(store):
        new = store()
        new.update(data)
        new.save()
        return new

    def read(store, key):
        store(key).get("cart")

    def change(store, key):
        loaded = store(key)
        loaded["n"] = time.perf_counter_ns()
        loaded.save()

    def new(store, _key):
        session(store)

    def login(store, key):
        # As django.contrib.auth.login and the middleware.
        loaded = store(key)
        loaded.get("_auth_user_id")
        loaded.cycle_key()
        loaded["_auth_user_id"] = "8"
        loaded.save()

    print("| | engine | CPU, µs | wall, µs | statements |\n|---|---|---:|---:|---|")
    for work in (read, change, new, login):
        # The setting changes logins alone.
        compared = [engine for engine in engines if work is login or not engine.endswith("one move")]
        stores = [store_of(engine) for engine in compared]
        times = {engine: ([], []) for engine in compared}
        for _round in range(ROUNDS):
            for engine, store in zip(compared, stores):
                settings.CLOAKROOM_LOGIN_IN_ONE_MOVE = engine.endswith("one move")
                keys = [session(store).session_key for _ in range(CALLS)]
                cpu, wall = time.process_time(), time.perf_counter()
                for key in keys:
                    work(store, key)
                times[engine][0].append((time.process_time() - cpu) / CALLS)
                times[engine][1].append((time.perf_counter() - wall) / CALLS)
        for engine, store in zip(compared, stores):
            settings.CLOAKROOM_LOGIN_IN_ONE_MOVE = engine.endswith("one move")
            key = session(store).session_key
            with CaptureQueriesContext(connection) as queries:
                work(store, key)
            cpu, wall = (1e6 * median(values) for values in times[engine])
            statements = " ".join(query["sql"].split()[0] for query in queries)
            print(f"| {work.__name__} | `{engine}` | {cpu:.0f} | {wall:.0f} | {statements or 'none'} |", flush=True)
    version = connection.pg_version // 10000 if connection.vendor == "postgresql" else ""
    print(f"\nPython {platform.python_version()}, Django {django.__version__}, {connection.display_name} {version}.")


if __name__ == "__main__":
    main()
