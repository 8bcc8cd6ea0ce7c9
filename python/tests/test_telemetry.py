"""What an operator can count through the logger, and that no session key is in it."""

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.core import signing
from support import StoreTestCase

from django_cloakroom import SessionUnreadable, cached_db


class Telemetry(StoreTestCase):
    def records(self, work, level="DEBUG"):
        """The records of the logger, as a handler that counts would see them."""
        with self.assertLogs("django_cloakroom", level) as logs:
            work()
        for record in logs.records:
            self.assertNotIn(self.session_key, str(vars(record)))
        return [(record.event, record.engine, getattr(record, "retries", None)) for record in logs.records]

    def two(self, store=None):
        self.session_key = self.stored(a=1)
        first, second = ((store or self.store)(self.session_key) for _ in range(2))
        first["b"], second["c"] = 1, 1
        return first, second

    def test_a_merge_and_its_retries(self):
        first, second = self.two()
        second.save()
        self.assertEqual(self.records(first.save), [("merged", "django_cloakroom.db", 1)])

    def test_a_save_without_a_conflict_is_silent(self):
        first, _ = self.two()
        with self.assertNoLogs("django_cloakroom", "DEBUG") if hasattr(self, "assertNoLogs") else self.subTest():
            first.save()

    def test_a_copy_is_no_conflict(self):
        self.two(cached_db.SessionStore)
        reader = cached_db.SessionStore(self.session_key)
        reader.get("a")
        loaded = cached_db.SessionStore(self.session_key)
        loaded["d"] = 1
        with self.assertRaisesMessage(AssertionError, "no logs"):
            self.records(loaded.save)

    def test_a_save_after_a_logout(self):
        first, second = self.two()
        second.flush()

        def save():
            with self.assertRaises(UpdateError):
                first.save()

        self.assertEqual(self.records(save), [("interrupted", "django_cloakroom.db", None)])

    def test_a_session_that_cannot_be_read(self):
        self.two()
        text = signing.dumps([1], salt="django.contrib.sessions.SessionStore")
        Session.objects.filter(pk=self.session_key).update(session_data=text)

        def load():
            with self.assertRaises(SessionUnreadable):
                self.store(self.session_key).get("a")

        self.assertEqual(self.records(load, "WARNING"), [("unreadable", "django_cloakroom.db", None)])
