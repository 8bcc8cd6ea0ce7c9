"""The copies of the engine `cached_db`: what may be read after a change or a logout."""

from unittest import mock

from django.contrib.sessions.backends.cached_db import SessionStore as DjangosStore
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from support import StoreTestCase, in_thread

from django_cloakroom import cached_db
from django_cloakroom.cached_db import SessionStore


class Copies(StoreTestCase):
    store = SessionStore

    def setUp(self):
        self.cache = caches["default"]
        self.cache.clear()

    def copy(self, session_key):
        return self.cache.get(SessionStore.cache_key_prefix + session_key, "nothing")

    def queries_of_load(self, session_key):
        with CaptureQueriesContext(connection) as queries:
            dict(self.store(session_key).items())
        return len(queries)

    def read_while(self, work, store, session_key):
        """Loads the session; `work` happens after the row was read and before the copy is put into the cache."""

        class Reader(store):
            def _get_session_from_db(self):
                row = super()._get_session_from_db()
                in_thread(work)
                return row

        Reader.__qualname__ = "SessionStore"
        return dict(Reader(session_key).items())

    def uncached(self, **items):
        session_key = self.stored(**items)
        self.cache.clear()
        return session_key

    def test_a_logout_while_a_reader_fills_the_cache(self):
        session_key = self.uncached(user=7)
        self.assertEqual(
            self.read_while(lambda: SessionStore(session_key).flush(), SessionStore, session_key), {"user": 7}
        )
        self.assertEqual(self.items(session_key), {})
        self.assertIsNone(self.copy(session_key))

    def test_djangos_engine_keeps_the_login(self):
        # So the test above can fail.
        session_key = self.uncached(user=7)
        self.read_while(lambda: DjangosStore(session_key).flush(), DjangosStore, session_key)
        self.assertEqual(dict(DjangosStore(session_key).items()), {"user": 7})
        self.assertEqual(Session.objects.count(), 0)

    def test_a_reader_that_took_too_long_fills_nothing(self):
        session_key = self.uncached(user=7)
        with mock.patch.object(cached_db, "FILL_WITHIN", -1):
            self.assertEqual(self.items(session_key), {"user": 7})
        self.assertEqual(self.copy(session_key), "nothing")

    def test_a_reader_between_a_logout_and_its_commit(self):
        session_key = self.uncached(user=7)
        with transaction.atomic():
            SessionStore(session_key).flush()
            # As if the transaction took longer than the marker lasts.
            self.cache.clear()
            if connection.vendor != "sqlite":
                in_thread(lambda: self.items(session_key))
                self.assertEqual(self.copy(session_key), {"user": 7})
        self.assertIsNone(self.copy(session_key))
        self.assertEqual(self.items(session_key), {})

    def test_the_marker_of_a_logout_lasts_as_long_as_the_rust_librarys(self):
        session_key, moved = self.stored(user=7), SessionStore(self.stored(user=8))
        before = moved.session_key
        with mock.patch.object(type(self.cache), "set", wraps=self.cache.set) as marking:
            SessionStore(session_key).flush()
            moved.cycle_key()
        marks = {call.args[0].removeprefix(SessionStore.cache_key_prefix): call.args[1:] for call in marking.mock_calls}
        self.assertEqual((marks[session_key], marks[before]), ((None, 60), (None, 60)))

    def test_a_reader_during_a_save(self):
        session_key = self.uncached(a=1)

        def change():
            session = SessionStore(session_key)
            session["a"] = 2
            session.save()

        self.assertEqual(self.read_while(change, SessionStore, session_key), {"a": 1})
        self.assertEqual(self.items(session_key), {"a": 2})

    def test_copies_save_the_statement_and_last_for_minutes(self):
        session_key = self.stored(a=1)
        self.assertEqual(self.queries_of_load(session_key), 0)
        self.cache.clear()
        self.assertEqual([self.queries_of_load(session_key) for _ in range(2)], [1, 0])
        with mock.patch("time.time", return_value=__import__("time").time() + cached_db.COPY_AGE + 1):
            self.assertEqual(self.queries_of_load(session_key), 1)

    def test_inside_of_a_transaction_the_copy_comes_after_the_commit(self):
        session_key = self.uncached(a=1)
        with transaction.atomic():
            self.items(session_key)
            self.assertEqual(self.copy(session_key), "nothing")
        self.assertEqual(self.copy(session_key), {"a": 1})

    def test_a_rolled_back_change_is_never_in_a_copy(self):
        session_key = self.uncached(a=1)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            session = SessionStore(session_key)
            session["a"] = 2
            session.save()
            self.cache.clear()
            self.assertEqual(self.items(session_key), {"a": 2})
            raise ZeroDivisionError
        self.assertEqual(self.items(session_key), {"a": 1})

    def test_a_save_from_an_old_copy_merges(self):
        session_key = self.stored(a=1, b=1)
        old = SessionStore(session_key)
        self.assertEqual(old["a"], 1)
        change = SessionStore(session_key)
        change["b"] = 2
        change.save()
        old["a"] = 2
        with CaptureQueriesContext(connection) as queries:
            old.save()
        self.assertEqual(self.items(session_key), {"a": 2, "b": 2})
        self.assertEqual([query["sql"].split()[0] for query in queries], ["SELECT", "UPDATE"])

    def test_a_copy_of_a_row_that_is_gone_cannot_be_saved(self):
        session_key = self.stored(user=7)
        Session.objects.all().delete()
        session = SessionStore(session_key)
        session["late"] = 1
        with self.assertRaisesMessage(Exception, "deleted before"):
            session.save()
        self.assertEqual(Session.objects.count(), 0)

    def test_the_rust_librarys_marker_of_a_logout(self):
        session_key = self.stored(user=7)
        self.cache.set(SessionStore.cache_key_prefix + session_key, {})
        self.assertEqual(self.items(session_key), {"user": 7})
        self.assertEqual(self.copy(session_key), {})

    def test_a_cache_that_fails_is_an_error_for_a_logout_alone(self):
        session_key = self.stored(user=7)
        failing = mock.patch.object(type(self.cache), "set", side_effect=OSError("no cache"))
        session = SessionStore(session_key)
        session["a"] = 1
        with failing, self.assertLogs("django.contrib.sessions", "ERROR"):
            session.save()
        with failing, self.assertRaisesMessage(OSError, "no cache"):
            session.flush()
        self.assertEqual(Session.objects.count(), 0)
