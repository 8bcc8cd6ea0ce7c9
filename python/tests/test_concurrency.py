"""Requests that use one session at once. Each test says what Django's own engine does with the same."""

from unittest import skipUnless

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.cached_db import SessionStore as DjangosCachedStore
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.cache import caches
from django.db import OperationalError, connection, transaction
from django.test import Client, override_settings
from support import StoreTestCase, in_thread, in_threads

from django_cloakroom.cached_db import SessionStore as CachedStore

THREADS = 40


class LostUpdates(StoreTestCase):
    engine = "django_cloakroom.db"
    djangos = DjangoStore

    def setUp(self):
        caches["default"].clear()
        engine = override_settings(SESSION_ENGINE=self.engine)
        engine.enable()
        self.addCleanup(engine.disable)

    def save_at_once(self, store):
        session_key = self.stored(start=True)

        def request(number, wait):
            session = store(session_key)
            session[f"key{number}"] = number
            wait()
            session.save()

        self.assertEqual(in_threads(THREADS, request), [])
        return [key for key in self.items(session_key) if key.startswith("key")]

    def test_forty_requests_keep_forty_keys(self):
        self.assertEqual(len(self.save_at_once(self.store)), THREADS)

    def test_djangos_engine_loses_keys(self):
        # So the test above can fail.
        self.assertLess(len(self.save_at_once(self.djangos)), THREADS)

    def test_a_counter_counts_every_request(self):
        session_key = self.stored(count=2)

        def request(_number, wait):
            session = self.store(session_key)
            session.modify("count", lambda count: count + 1)
            wait()
            session.save()

        self.assertEqual(in_threads(THREADS, request), [])
        self.assertEqual(self.items(session_key), {"count": 2 + THREADS})

    def test_requests_through_the_middleware(self):
        for is_atomic in (False, True):
            with self.subTest(ATOMIC_REQUESTS=is_atomic):
                connection.settings_dict["ATOMIC_REQUESTS"] = is_atomic
                self.addCleanup(connection.settings_dict.__setitem__, "ATOMIC_REQUESTS", False)
                session_key = self.stored(count=0)

                for path in ("/put/key%d", "/count?number=%d"):

                    def request(number, wait, session_key=session_key, path=path):
                        client = Client(raise_request_exception=True)
                        client.cookies[settings.SESSION_COOKIE_NAME] = session_key
                        response = client.get(path % number, **{"tests.wait": wait})
                        assert response.status_code == 200, response.content

                    self.assertEqual(in_threads(THREADS, request), [])
                items = self.items(session_key)
                self.assertEqual(items.pop("count"), THREADS)
                self.assertEqual(len(items), THREADS)

    @skipUnless(
        connection.features.has_select_for_update, "SQLite refuses a transaction that read before another wrote"
    )
    def test_views_that_save_in_their_transaction(self):
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        self.addCleanup(connection.settings_dict.__setitem__, "ATOMIC_REQUESTS", False)
        session_key = self.stored(start=True)

        def request(number, _wait):
            client = Client(raise_request_exception=True)
            client.cookies[settings.SESSION_COOKIE_NAME] = session_key
            response = client.get(f"/put/key{number}?before_response=1")
            assert response.status_code == 200, response.content

        self.assertEqual(in_threads(THREADS, request), [])
        self.assertEqual(len(self.items(session_key)), THREADS + 1)


class LostUpdatesOfCachedDb(LostUpdates):
    store = CachedStore
    engine = "django_cloakroom.cached_db"
    djangos = DjangosCachedStore


class Isolation(StoreTestCase):
    """A conflict inside of a transaction, at every isolation level that the database has."""

    levels = {
        "postgresql": ["READ COMMITTED", "REPEATABLE READ"],
        "mysql": ["READ COMMITTED", "REPEATABLE READ"],
    }.get(connection.vendor, [])

    def conflict(self, level):
        """Another request saves between the load and the save of a transaction."""
        session_key = self.stored(start=True)
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            session = self.store(session_key)
            session["mine"] = True

            def other_request():
                other = self.store(session_key)
                other["others"] = True
                other.save()

            in_thread(other_request)
            session.save()
        return session_key

    def test_the_read_after_a_conflict_sees_the_new_row(self):
        for level in self.levels:
            with self.subTest(level):
                if (connection.vendor, level) == ("postgresql", "REPEATABLE READ"):
                    continue
                session_key = self.conflict(level)
                self.assertEqual(self.items(session_key), {"start": True, "mine": True, "others": True})

    @skipUnless(connection.vendor == "postgresql", "of PostgreSQL's REPEATABLE READ")
    def test_postgresql_refuses_to_see_it(self):
        # No statement of that transaction can see the new row: PostgreSQL has it rolled back and tried again, as with
        # Django's engine. Nothing is lost, and it is not taken for a logout.
        with self.assertRaisesMessage(OperationalError, "could not serialize access"):
            self.conflict("REPEATABLE READ")


class ResurrectedLogins(StoreTestCase):
    djangos = DjangoStore

    def logged_out_meanwhile(self):
        session = self.store(self.stored(user=7))
        self.assertEqual(session["user"], 7)
        in_thread(lambda: self.store(session.session_key).flush())
        return session

    def assert_nothing_stored(self, session_key):
        self.assertEqual(self.items(session_key), {})
        if hasattr(self.store, "get_model_class"):
            self.assertEqual(self.store.get_model_class().objects.count(), 0)

    def test_a_save_after_a_logout_is_refused(self):
        session = self.logged_out_meanwhile()
        session["late"] = True
        with self.assertRaises(UpdateError):
            session.save()
        self.assert_nothing_stored(session.session_key)

    def test_a_save_without_a_change_after_a_logout_is_refused(self):
        session = self.logged_out_meanwhile()
        with self.assertRaises(UpdateError):
            session.save()

    def test_a_new_key_after_a_logout_is_refused(self):
        session = self.logged_out_meanwhile()
        session_key = session.session_key
        # A view gets a 400 for it, as the middleware gives for UpdateError.
        with self.assertRaises(SessionInterrupted):
            session.cycle_key()
        self.assertEqual(session.session_key, session_key)
        self.assert_nothing_stored(session_key)

    def test_djangos_engine_makes_the_login_anew(self):
        session_key = self.stored(user=7)
        session = self.djangos(session_key)
        self.assertEqual(session["user"], 7)
        in_thread(lambda: self.djangos(session_key).flush())
        session.cycle_key()
        self.assertEqual(self.items(session.session_key), {"user": 7})

    def test_a_new_key_keeps_what_others_saved_meanwhile(self):
        session = self.store(self.stored(cart=[1]))
        session["mine"] = True

        def other_request():
            other = self.store(session.session_key)
            other["others"] = True
            other.save()

        before = session.session_key
        in_thread(other_request)
        session.cycle_key()
        self.assertNotEqual(session.session_key, before)
        self.assertEqual(self.items(before), {})
        self.assertEqual(self.items(session.session_key), {"cart": [1], "mine": True, "others": True})

    def test_a_rolled_back_save_is_not_taken_for_saved_by_others(self):
        session_key = self.stored(start=True)
        session = self.store(session_key)
        session["mine"] = True
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            rolled_back = self.store(session_key)
            rolled_back["gone"] = True
            rolled_back.save()
            raise ZeroDivisionError
        session.save()
        self.assertEqual(self.items(session_key), {"start": True, "mine": True})


class ResurrectedLoginsOfCachedDb(ResurrectedLogins):
    store = CachedStore
    djangos = DjangosCachedStore
