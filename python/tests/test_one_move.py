"""CLOAKROOM_LOGIN_IN_ONE_MOVE: the session moves in the statement that writes who logged in."""

from unittest import skipUnless

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from support import StoreTestCase, in_thread

from django_cloakroom import cached_db, db

USER = "_auth_user_id"


def statements(work):
    with CaptureQueriesContext(connection) as queries:
        work()
    return [query["sql"].split()[0] for query in queries if "django_session" in query["sql"]]


@override_settings(CLOAKROOM_LOGIN_IN_ONE_MOVE=True, SESSION_ENGINE="django_cloakroom.db")
class OneMove(StoreTestCase):
    store = db.SessionStore
    # A login in a session that is there.
    expected = ["SELECT", "UPDATE"]

    def setUp(self):
        cache.clear()
        User.objects.create_user("ann")
        self.client = Client()
        self.client.get("/put/cart")
        self.before = self.key()

    def key(self):
        return self.client.cookies["sessionid"].value

    def on_login(self, receiver):
        user_logged_in.connect(receiver)
        self.addCleanup(user_logged_in.disconnect, receiver)

    def test_a_login_takes_two_statements(self):
        self.assertEqual(statements(lambda: self.client.get("/sign_in/ann")), self.expected)
        self.assertNotEqual(self.key(), self.before)
        self.assertEqual(self.items(self.before), {})
        items = self.items(self.key())
        self.assertIs(items["cart"], True)
        self.assertEqual(items[USER], str(User.objects.get().pk))
        self.assertEqual(Session.objects.count(), 1)

    def test_a_receiver_finds_the_session_under_its_new_key(self):
        found = []

        def receiver(sender, request, **kwargs):
            session_key = request.session.session_key
            found.append((session_key, in_thread(lambda: self.items(session_key))[USER]))

        self.on_login(receiver)
        self.client.get("/sign_in/ann")
        self.assertEqual(found, [(self.key(), str(User.objects.get().pk))])

    def test_what_a_receiver_changes_is_saved(self):
        def receiver(sender, request, **kwargs):
            request.session["welcome"] = True

        self.on_login(receiver)
        self.client.get("/sign_in/ann")
        self.assertIs(self.items(self.key())["welcome"], True)

    def test_a_change_of_meanwhile_is_merged(self):
        session = self.store(self.before)
        session.items()
        session.cycle_key()
        session[USER] = "7"
        other = self.store(self.before)
        other["other"] = 1
        in_thread(other.save)
        promised = session.session_key
        session.save()
        self.assertEqual(session.session_key, promised)
        self.assertEqual(self.items(promised), {"cart": True, "other": 1, USER: "7"})
        self.assertEqual(self.items(self.before), {})

    def test_a_logout_of_meanwhile_is_final(self):
        session = self.store(self.before)
        session.cycle_key()
        in_thread(self.store(self.before).flush)
        with self.assertRaisesMessage(Exception, "deleted before"):
            session.save()
        self.assertEqual(Session.objects.count(), 0)

    def test_a_save_without_a_login_moves(self):
        session = self.store(self.before)
        session.cycle_key()
        self.assertEqual(self.items(self.before), {"cart": True})
        session.save()
        self.assertEqual(self.items(self.before), {})
        self.assertEqual(self.items(session.session_key), {"cart": True})
        # The next save is one of the session under its new key.
        session["more"] = 1
        session.save()
        self.assertEqual(self.items(session.session_key), {"cart": True, "more": 1})

    def test_asking_for_a_key_moves(self):
        session = self.store(self.before)
        session.cycle_key()
        self.assertIs(session.exists(self.before), False)
        self.assertIs(session.exists(session.session_key), True)

    @skipUnless(hasattr(Session.get_session_store_class(), "aexists"), "Django before 5.1 has no async sessions")
    def test_asking_for_a_key_moves_in_async_code_too(self):
        async def ask():
            session = self.store(self.before)
            await session.acycle_key()
            return await session.aexists(self.before), await session.aexists(session.session_key)

        self.assertEqual(async_to_sync(ask)(), (False, True))

    def test_a_flush_removes_what_is_stored(self):
        for end in ("flush", "delete"):
            session = self.store(self.stored(a=1))
            before = session.session_key
            session.cycle_key()
            getattr(session, end)()
            self.assertEqual(self.items(before), {}, end)

    def test_two_moves_are_one(self):
        session = self.store(self.before)
        session.cycle_key()
        session.cycle_key()
        session.save()
        self.assertEqual(list(Session.objects.values_list("pk", flat=True)), [session.session_key])

    def test_the_next_save_after_a_login_writes(self):
        def receiver(sender, request, **kwargs):
            # Nothing has changed since the login was saved.
            request.session.save()
            Session.objects.all().delete()
            with self.assertRaisesMessage(Exception, "deleted before"):
                request.session.save()
            request.session.flush()

        self.on_login(receiver)
        self.client.get("/sign_in/ann")


@override_settings(SESSION_ENGINE="django_cloakroom.cached_db")
class OneMoveWithCopies(OneMove):
    store = cached_db.SessionStore
    # The request before has left a marker, so that the row is read.
    expected = ["SELECT", "UPDATE"]

    def test_the_copy_of_before_is_gone(self):
        cache.clear()
        self.store(self.before).items()
        session = self.store(self.before)
        session.cycle_key()
        session[USER] = "7"
        session.save()
        name = cached_db.KEY_PREFIX
        self.assertIsNone(cache.get(name + self.before, "nothing"))
        self.assertEqual(cache.get(name + session.session_key), {"cart": True, USER: "7"})


class WithoutTheSetting(StoreTestCase):
    def test_cycle_key_moves_at_once(self):
        session = self.store(self.stored(a=1))
        before = session.session_key
        session.cycle_key()
        self.assertEqual(self.items(before), {})
        self.assertEqual(self.items(session.session_key), {"a": 1})
