"""What several tests use."""

import threading

from django.db import connections
from django.test import TransactionTestCase

from django_cloakroom.db import SessionStore


def in_threads(count, work):
    """Runs `work(number, wait)` in threads with connections of their own; `wait` waits until all have called it."""
    barrier = threading.Barrier(count, timeout=60)
    errors, lock = [], threading.Lock()

    def run(number):
        try:
            work(number, barrier.wait)
        except Exception as error:
            barrier.abort()
            with lock:
                errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def in_thread(work):
    """Runs `work()` in a thread, as another request, and returns what it returns."""
    results = []

    def run(_number, _wait):
        results.append(work())

    errors = in_threads(1, run)
    if errors:
        raise errors[0]
    return results[0]


class StoreTestCase(TransactionTestCase):
    store = SessionStore

    def stored(self, **items):
        """A new session's key."""
        session = self.store()
        session.update(items)
        session.save()
        return session.session_key

    def items(self, session_key):
        """What is stored now."""
        return dict(self.store(session_key).items())
