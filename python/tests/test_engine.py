"""What the engine promises beyond Django's, one request after the other."""

import copy
import json
import logging
import pickle
from unittest import skipUnless

from django.contrib.auth.models import User
from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.contrib.messages.storage.session import SessionStorage
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import post_save, pre_save
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from sessions_tests.models import CustomSession
from support import StoreTestCase

import custom_store
from django_cloakroom import SessionUnreadable

SALT = "django.contrib.sessions.SessionStore"


class PickleSerializer:
    """As Django had it before 5.0."""

    def dumps(self, obj):
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data):
        return pickle.loads(data)


def text_of(session_key):
    return Session.objects.get(session_key=session_key).session_data


def row_with(json_text, salt=SALT):
    """A row whose JSON is spelled in this way."""

    class Spelled:
        def dumps(self, _obj):
            return json_text.encode("latin-1")

    text = signing.dumps(None, salt=salt, serializer=Spelled)
    end = timezone.now() + timezone.timedelta(days=1)
    return Session.objects.create(session_key="k" * 32, session_data=text, expire_date=end).session_key


def json_of(session_key):
    """The stored JSON, letter for letter."""

    class Raw:
        def loads(self, data):
            return data.decode("latin-1")

    return signing.loads(text_of(session_key), salt=SALT, serializer=Raw)


class Merging(StoreTestCase):
    def two(self, **items):
        session_key = self.stored(**items)
        first, second = self.store(session_key), self.store(session_key)
        first.items(), second.items()
        return session_key, first, second

    def test_a_change_deep_inside_is_seen_and_the_rest_stays_others(self):
        session_key, first, second = self.two(cart={"lines": [1]}, theme="light")
        second["theme"] = "dark"
        second.save()
        first["cart"]["lines"].append(2)
        first.modified = True
        first.save()
        self.assertEqual(self.items(session_key), {"cart": {"lines": [1, 2]}, "theme": "dark"})

    def test_what_nobody_touched_goes_back_letter_for_letter(self):
        session_key = row_with('{"price": 1.50, "a":[1e400,NaN,-0.0,"\\u00E9"], "n":1}')
        session = self.store(session_key)
        session["n"] = 2
        session.save()
        self.assertEqual(json_of(session_key), '{"price":1.50,"a":[1e400,NaN,-0.0,"\\u00E9"],"n":2}')

    def test_removed_keys_stay_removed_and_come_from_others(self):
        session_key, first, second = self.two(a=1, b=2, c=3)
        del second["b"]
        second.save()
        del first["a"]
        first.save()
        self.assertEqual(self.items(session_key), {"c": 3})
        self.assertEqual(dict(first.items()), {"c": 3})

    def test_the_dictionary_has_what_others_saved_and_keeps_its_own_objects(self):
        session_key, first, second = self.two(cart=[1])
        second["others"] = True
        second.save()
        cart = first["cart"]
        cart.append(2)
        first.save()
        self.assertEqual(dict(first.items()), {"cart": [1, 2], "others": True})
        cart.append(3)
        first.save()
        self.assertEqual(self.items(session_key), {"cart": [1, 2, 3], "others": True})

    def test_clear_leaves_nothing_of_others(self):
        session_key, first, second = self.two(a=1)
        second["others"] = True
        second.save()
        first.clear()
        first["mine"] = 1
        first.save()
        self.assertEqual(self.items(session_key), {"mine": 1})

    def test_clear_before_loading(self):
        session_key, _, second = self.two(a=1)
        first = self.store(session_key)
        first.clear()
        first["mine"] = 1
        second["others"] = True
        second.save()
        first.cycle_key()
        self.assertEqual(self.items(first.session_key), {"mine": 1})
        self.assertEqual(self.items(session_key), {})

    def test_modify_runs_again_on_the_value_of_others(self):
        session_key, first, second = self.two(n=1)
        self.assertEqual(first.modify("n", lambda n: n + 10), 11)
        self.assertEqual(first.modify("n", lambda n: n * 2), 22)
        second["n"] = 100
        second.save()
        first.save()
        self.assertEqual(first["n"], 220)
        self.assertEqual(self.items(session_key), {"n": 220})
        # Saved, so not done again.
        first["other"] = 1
        first.save()
        self.assertEqual(self.items(session_key)["n"], 220)

    def test_modify_after_a_set_counts_from_what_was_set(self):
        session_key, first, second = self.two(n=1)
        first["n"] = 5
        first.modify("n", lambda n: n + 1)
        second["n"] = 100
        second.save()
        first.save()
        self.assertEqual(self.items(session_key), {"n": 6})

    def test_a_set_after_modify_counts(self):
        session_key, first, second = self.two(n=1)
        first.modify("n", lambda n: n + 1)
        first["n"] = 50
        second["n"] = 100
        second.save()
        first.save()
        self.assertEqual(self.items(session_key), {"n": 50})

    def test_a_function_that_fails_on_the_value_of_others(self):
        session_key, first, second = self.two(n=1)
        first.modify("n", lambda n: 10 // n)
        second["n"] = 0
        second.save()
        with self.assertRaises(ZeroDivisionError):
            first.save()
        self.assertEqual(self.items(session_key), {"n": 0})

    def test_many_conflicts_in_a_row(self):
        # From the third on, an attempt waits a moment first.
        session_key, first, second = self.two(n=0)
        conflicts = iter(range(6))

        class Busy(self.store):
            def create_model_instance(busy, data):
                for number in conflicts:
                    second["n"] = number + 1
                    second.save()
                    break
                return super().create_model_instance(data)

        Busy.__qualname__ = "SessionStore"
        busy = Busy(session_key)
        busy["mine"] = True
        busy.save()
        self.assertEqual(self.items(session_key), {"n": 6, "mine": True})

    def test_an_expiry_set_by_another_request(self):
        session_key, first, second = self.two(n=0)
        second.set_expiry(7200)
        second.save()
        first["n"] = 1
        first.save()
        left = Session.objects.get(session_key=session_key).expire_date - timezone.now()
        self.assertLess(left.total_seconds(), 7300)

    def test_text_that_differs_in_case_alone_is_a_conflict(self):
        # MariaDB's usual collations would take it for the same text.
        session_key, first, second = self.two(a="x")
        text = text_of(session_key)
        Session.objects.filter(session_key=session_key).update(session_data=text.swapcase())
        first["a"] = "y"
        with self.assertRaises(SessionUnreadable):
            first.save()
        self.assertEqual(text_of(session_key), text.swapcase())


class Copying(StoreTestCase):
    def test_a_session_can_be_copied_and_pickled(self):
        session = self.store(self.stored(a=[1]))
        session.items()
        for other in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
            other["a"].append(2)
            other.modified = True
            other.save()
        self.assertEqual(session["a"], [1])
        self.assertEqual(self.items(session.session_key), {"a": [1, 2]})


class Clearing(StoreTestCase):
    def test_expired_sessions_go_some_at_once(self):
        live, now = self.stored(a=1), timezone.now()
        ends = [now - timezone.timedelta(seconds=1)] * 1203
        rows = [
            Session(session_key=f"expired{number}", session_data="x", expire_date=end)
            for number, end in enumerate(ends)
        ]
        Session.objects.bulk_create(rows)
        with CaptureQueriesContext(connection) as queries, override_settings(SESSION_ENGINE="django_cloakroom.db"):
            call_command("clearsessions")
        self.assertEqual([row.session_key for row in Session.objects.all()], [live])
        self.assertEqual(sum(query["sql"].startswith("DELETE") for query in queries), 3)


class Messages(StoreTestCase):
    def request(self, session_key):
        request = RequestFactory().get("/")
        request.session = self.store(session_key)
        request.session.items()
        return request, SessionStorage(request)

    def add(self, storage, text):
        storage.add(constants.INFO, text)
        storage.update(None)

    def texts(self, session_key):
        return [message.message for message in self.request(session_key)[1]]

    def test_messages_of_requests_at_once_all_arrive(self):
        session_key = self.stored(start=True)
        requests = [self.request(session_key) for _ in range(3)]
        for number, (request, storage) in enumerate(requests):
            self.add(storage, f"message {number}")
            request.session.save()
        self.assertEqual(self.texts(session_key), ["message 0", "message 1", "message 2"])

    def test_consumed_messages_are_gone_and_new_ones_stay(self):
        session_key = self.stored(start=True)
        request, storage = self.request(session_key)
        self.add(storage, "read")
        request.session.save()
        (reader, read), (writer, written) = self.request(session_key), self.request(session_key)
        self.assertEqual([message.message for message in read], ["read"])
        read.update(None)
        self.add(written, "new")
        writer.session.save()
        reader.session.save()
        self.assertEqual(self.texts(session_key), ["new"])

    def test_nothing_is_left_behind_when_both_read_all(self):
        session_key = self.stored(start=True)
        request, storage = self.request(session_key)
        self.add(storage, "read")
        request.session.save()
        readers = [self.request(session_key) for _ in range(2)]
        for request, storage in readers:
            list(storage)
            storage.update(None)
            request.session.save()
        self.assertEqual(json_of(session_key), '{"start":true}')

    @override_settings(SESSION_SERIALIZER="test_engine.PickleSerializer")
    def test_a_serializer_of_the_sites_own(self):
        self.test_messages_of_requests_at_once_all_arrive()

    def test_the_text_is_djangos(self):
        session_key = self.stored(start=True)
        for text in ("h\u00e9", 'qu"ote'):
            request, storage = self.request(session_key)
            other, others = self.request(session_key)
            self.add(storage, text)
            request.session.save()
            self.add(others, text)
            other.session.save()
        stored = json.loads(json_of(session_key))["_messages"]
        expected = SessionStorage(self.request(session_key)[0]).serialize_messages(
            [Message(constants.INFO, text, extra_tags="") for text in ("h\u00e9", "h\u00e9", 'qu"ote', 'qu"ote')]
        )
        self.assertEqual(stored, expected)


class Rows(StoreTestCase):
    def test_rows_of_djangos_engine_and_back(self):
        theirs = DjangoStore()
        theirs.update({"a": [1, {"b": None}], "\u00e9": "\U0001f600", "big": 10**40, "x" * 2000: 1.5e300})
        theirs.save()
        ours = self.store(theirs.session_key)
        self.assertEqual(dict(ours.items()), dict(theirs.items()))
        ours["mine"] = True
        ours.save()
        self.assertEqual(dict(DjangoStore(theirs.session_key).items()), dict(ours.items()))

    def test_a_row_of_another_secret_stays(self):
        with override_settings(SECRET_KEY="another"):
            session_key = self.stored(a=1)
        text = text_of(session_key)
        session = self.store(session_key)
        with self.assertLogs("django.security.SuspiciousSession", logging.WARNING):
            self.assertEqual(dict(session.items()), {})
        session["mine"] = 1
        session.save()
        self.assertNotEqual(session.session_key, session_key)
        self.assertEqual(text_of(session_key), text)
        self.assertEqual(self.items(session.session_key), {"mine": 1})

    def test_an_old_secret_still_reads(self):
        with override_settings(SECRET_KEY="the old one"):
            session_key = self.stored(a=1)
        with override_settings(SECRET_KEY_FALLBACKS=["the old one"]):
            session = self.store(session_key)
            session["b"] = 2
            session.save()
        self.assertEqual(self.items(session_key), {"a": 1, "b": 2})

    def test_an_unreadable_row_is_an_error_and_stays(self):
        session_key = row_with("[1,2]")
        text = text_of(session_key)
        session = self.store(session_key)
        with self.assertRaises(SessionUnreadable):
            session.get("a")
        self.assertEqual(text_of(session_key), text)

    def test_a_value_that_json_cannot_hold(self):
        session_key = self.stored(a=1)
        session = self.store(session_key)
        session["a"] = object()
        with self.assertRaisesMessage(TypeError, "not JSON serializable"):
            session.save()
        self.assertEqual(self.items(session_key), {"a": 1})

    def test_keys_that_are_no_strings(self):
        session = self.store()
        session[1] = "one"
        session.modify(2, lambda two: two or "two")
        session.save()
        session[1] = "uno"
        session.save()
        self.assertEqual(self.items(session.session_key), {"1": "uno", "2": "two"})

    @override_settings(SESSION_SERIALIZER="test_engine.PickleSerializer")
    def test_a_serializer_of_the_sites_own(self):
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
        self.assertEqual(dict(DjangoStore(session_key).items()), expected)

    def test_a_model_of_the_sites_own(self):
        first = custom_store.SessionStore()
        first["_auth_user_id"] = "7"
        first.save()
        second = custom_store.SessionStore(first.session_key)
        second["_auth_user_id"] = "8"
        second.save()
        first["other"] = 1
        first.save()
        # The column is computed from the merged session.
        self.assertEqual(CustomSession.objects.get().account_id, 8)

    def test_signals_of_the_model_are_sent(self):
        seen = []

        def note(sender, instance, **arguments):
            seen.append(instance.session_key)

        pre_save.connect(note, Session)
        self.addCleanup(pre_save.disconnect, note, Session)
        session_key = self.stored(a=1)
        first, second = self.store(session_key), self.store(session_key)
        first["b"], second["c"] = 1, 1
        first.save()
        second.save()
        first.cycle_key()
        # Inserted, updated, refused, updated, and moved at the second attempt: the first finds it changed.
        self.assertEqual(seen, [session_key] * 4 + [first.session_key])
        self.assertEqual(self.items(first.session_key), {"a": 1, "b": 1, "c": 1})

    def test_no_post_save_for_a_row_that_is_gone(self):
        seen = []

        def note(sender, **arguments):
            seen.append(sender)

        session = self.store(self.stored(a=1))
        session["a"] = 2
        post_save.connect(note, Session)
        self.addCleanup(post_save.disconnect, note, Session)
        self.store().delete(session.session_key)
        with self.assertRaisesMessage(Exception, "deleted before"):
            session.save()
        self.assertEqual(seen, [])


class Statements(StoreTestCase):
    """How many statements a request needs."""

    def login(self, client, name):
        return client.get(f"/sign_in/{name}")

    def sessions_statements(self, work):
        with CaptureQueriesContext(connection) as queries:
            work()
        return [query["sql"] for query in queries if "django_session" in query["sql"]]

    def test_a_login_takes_two_statements(self):
        User.objects.create_user("ann")
        client = Client()
        statements = self.sessions_statements(lambda: self.login(client, "ann"))
        self.assertEqual([sql.split()[0] for sql in statements], ["INSERT", "UPDATE"])

    def test_a_login_in_a_session_takes_two_statements_and_the_read(self):
        User.objects.create_user("ann")
        client = Client()
        client.get("/put/cart")
        before = client.cookies["sessionid"].value
        statements = self.sessions_statements(lambda: self.login(client, "ann"))
        self.assertEqual([sql.split()[0] for sql in statements], ["SELECT", "UPDATE", "UPDATE"])
        after = client.cookies["sessionid"].value
        self.assertNotEqual(before, after)
        self.assertEqual(self.items(before), {})
        self.assertIs(self.items(after)["cart"], True)

    @override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db")
    def test_djangos_login_takes_more(self):
        User.objects.create_user("ann")
        client = Client()
        client.get("/put/cart")
        statements = self.sessions_statements(lambda: self.login(client, "ann"))
        self.assertEqual(len(statements), 6, statements)

    def test_a_new_session_and_a_change_take_one_statement_besides_the_read(self):
        client = Client()
        for expected in (["INSERT"], ["SELECT", "UPDATE"]):
            statements = self.sessions_statements(lambda: client.get("/put/a"))
            self.assertEqual([sql.split()[0] for sql in statements], expected)

    def test_a_logout_leaves_no_row(self):
        User.objects.create_user("ann")
        client = Client()
        self.login(client, "ann")
        client.get("/sign_out")
        self.assertEqual(Session.objects.count(), 0)
        self.assertEqual(client.cookies["sessionid"].value, "")


@skipUnless(hasattr(DjangoStore, "asave"), "Django before 5.1 has no async sessions")
class Async(StoreTestCase):
    async def test_two_requests(self):
        first = self.store()
        await first.aset("a", 1)
        await first.asave()
        second = self.store(first.session_key)
        await second.amodify("n", lambda n: (n or 0) + 1)
        await first.amodify("n", lambda n: (n or 0) + 1)
        await first.asave()
        await second.asave()
        self.assertEqual(await second.aget("n"), 2)
        before = second.session_key
        await second.acycle_key()
        self.assertIs(await self.store().aexists(before), False)
        third = self.store(second.session_key)
        self.assertEqual(await third.aget("n"), 2)
        await third.aflush()
        with self.assertRaisesMessage(Exception, "deleted before"):
            await second.asave()
        self.assertIsNone(third.session_key)
