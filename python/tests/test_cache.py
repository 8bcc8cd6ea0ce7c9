"""The engine `cache` on each cache that can compare and swap."""

import functools
import threading

import servers
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.cache import SessionStore as DjangosStore
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings
from support import in_thread, in_threads
from test_concurrency import LostUpdates, ResurrectedLogins

from django_cloakroom.cache import SessionStore

redis_url = functools.lru_cache(servers.redis)
memcached_address = functools.lru_cache(servers.memcached)


def local():
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def redis():
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url()}


def django_redis():
    options = {"CLIENT_CLASS": "django_redis.client.DefaultClient"}
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url() + "/1", "OPTIONS": options}


def memcached():
    return {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": memcached_address()}


class WithCache:
    cache = None
    store = SessionStore
    engine = "django_cloakroom.cache"
    djangos = DjangosStore

    def setUp(self):
        settings = override_settings(CACHES={"default": type(self).cache()})
        settings.enable()
        self.addCleanup(settings.disable)
        super().setUp()
        caches["default"].clear()
        self.addCleanup(caches.close_all)


class Logouts(WithCache, ResurrectedLogins):
    # It is about transactions.
    test_a_rolled_back_save_is_not_taken_for_saved_by_others = None

    def test_a_logout_between_two_attempts_of_a_save(self):
        session_key = self.stored(user=7)
        session = self.store(session_key)
        session["late"] = True

        def logout():
            self.store(session_key).flush()

        class Late(self.store):
            def get_expiry_age(late, **arguments):
                # After the load and before the comparison.
                in_thread(logout)
                return super().get_expiry_age(**arguments)

        late = Late(session_key)
        late["late"] = True
        with self.assertRaises(UpdateError):
            late.save()
        self.assertEqual(self.items(session_key), {})

    def test_objects_that_json_cannot_hold(self):
        session_key = self.stored(a={1, 2}, b=b"x", n=1)
        first, second = self.store(session_key), self.store(session_key)
        first["a"].add(3)
        first.modify("n", lambda n: n + 1)
        second["b"] = b"y"
        second["n"] = 10
        second.save()
        first.save()
        expected = {"a": {1, 2, 3}, "b": b"y", "n": 11}
        self.assertEqual(dict(first.items()), expected)
        self.assertEqual(dict(DjangosStore(session_key).items()), expected)
        # What a save does not tell about its version is read again.
        first["c"] = 1
        first.save()
        self.assertEqual(self.items(session_key), {**expected, "c": 1})

    def test_clear_before_loading(self):
        session = self.store(self.stored(a=1))
        session.clear()
        session["b"] = 2
        session.save()
        self.assertEqual(self.items(session.session_key), {"b": 2})
        gone = self.store("k" * 32)
        gone.clear()
        with self.assertRaises(UpdateError):
            gone.save()

    def test_an_expired_session_is_gone(self):
        session = self.store(self.stored(a=1))
        session["a"] = 2
        session.set_expiry(-1)
        session.save()
        self.assertEqual(self.items(session.session_key), {})

    def test_two_changes_of_key_at_once(self):
        session_key = self.stored(user=7)
        outcomes, lock = [], threading.Lock()

        def request(_number, wait):
            session = self.store(session_key)
            session.get("user")
            wait()
            try:
                session.cycle_key()
            except UpdateError:
                return
            with lock:
                outcomes.append(session.session_key)

        self.assertEqual(in_threads(8, request), [])
        # One of them moved it, and left no copy behind.
        self.assertEqual(len(outcomes), 1)
        self.assertEqual(self.items(outcomes[0]), {"user": 7})


# No database: not the views of ATOMIC_REQUESTS, which save within a transaction.
class Updates(WithCache, LostUpdates):
    test_views_that_save_in_their_transaction = None


class LocalUpdates(Updates):
    cache = staticmethod(local)


class LocalLogouts(Logouts):
    cache = staticmethod(local)


class RedisUpdates(Updates):
    cache = staticmethod(redis)


class RedisLogouts(Logouts):
    cache = staticmethod(redis)


class DjangoRedisUpdates(Updates):
    cache = staticmethod(django_redis)


class DjangoRedisLogouts(Logouts):
    cache = staticmethod(django_redis)


class MemcachedUpdates(Updates):
    cache = staticmethod(memcached)


class MemcachedLogouts(Logouts):
    cache = staticmethod(memcached)


# Bases, not tests.
del Updates, Logouts, LostUpdates, ResurrectedLogins


class Refused(SimpleTestCase):
    @override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "x"}})
    def test_a_cache_that_cannot_compare_and_swap(self):
        with self.assertRaisesMessage(ImproperlyConfigured, "DatabaseCache has no compare-and-swap"):
            SessionStore("k" * 32).load()
