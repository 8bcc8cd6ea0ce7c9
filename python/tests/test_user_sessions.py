"""The index of user sessions: list, revoke, follow; the same list for the Rust library's own command."""

import io
import json
import os
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock, skipUnless

from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.template import Context, Engine
from django.test import Client, RequestFactory, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from support import in_threads
from test_cache import redis

from django_cloakroom import cached_db, db, user_sessions
from django_cloakroom import cache as cache_engine
from django_cloakroom.user_session_index import Entry, index_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(os.environ.get("CLOAKROOM_COMMAND", ROOT / "target/debug/cloakroom"))


def later(seconds):
    """Whatever was noted is so many seconds old."""
    when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return mock.patch.object(user_sessions, "datetime", mock.Mock(now=lambda _zone: when, wraps=datetime))


def called(*arguments):
    """What a command prints, and its exit code."""
    output, errors = io.StringIO(), io.StringIO()
    try:
        call_command("usersessions", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        return output.getvalue(), end.code
    return output.getvalue(), 0


class Index:
    """The tests of every index."""

    def setUp(self):
        super().setUp()
        settings = {"CLOAKROOM_USER_SESSIONS": True, "SESSION_ENGINE": self.engine.__name__, **self.settings()}
        settings["MIDDLEWARE"] = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django_cloakroom.middleware.ClientMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ]
        overriding = override_settings(**settings)
        overriding.enable()
        self.addCleanup(overriding.disable)
        self.index = index_of(self.store)
        self.index.create_table()
        self.addCleanup(self.clear)
        self.ann = User.objects.create_user("ann", password="x")

    @property
    def store(self):
        return self.engine.SessionStore

    def settings(self):
        return {}

    def clear(self):
        if self.index.using is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TABLE {self.index.table}")

    def login(self, client=None):
        client = client or Client(HTTP_USER_AGENT=FIREFOX)
        client.get("/sign_in/ann")
        return client

    def key(self, client):
        return client.cookies["sessionid"].value

    def listed(self):
        return user_sessions.list_sessions(self.ann.pk)

    def is_there(self, client):
        return self.store().exists(self.key(client))

    def test_a_login_is_listed_with_its_client(self):
        client = self.login()
        (session,) = self.listed()
        self.assertEqual(session.id, user_sessions.public_id(self.key(client)))
        self.assertEqual(session.user_id, str(self.ann.pk))
        self.assertEqual((session.address, session.user_agent), ("127.0.0.1", FIREFOX))
        self.assertEqual(session.device, "Firefox on Linux")
        self.assertEqual(session.first_seen, session.last_seen)
        self.assertNotIn(self.key(client), repr(session))
        client.get("/sign_out")
        self.assertEqual(self.index.of_user(str(self.ann.pk)), [])

    def test_nobody_is_noted_who_is_not_logged_in(self):
        Client().get("/put/a")
        self.assertEqual(self.listed(), [])

    def test_one_the_others_and_all_are_revoked(self):
        clients = [self.login() for _ in range(4)]
        id = user_sessions.public_id(self.key(clients[0]))
        self.assertIs(user_sessions.revoke(self.ann.pk + 1, id), False)
        self.assertIs(user_sessions.revoke(self.ann.pk, id), True)
        self.assertIs(user_sessions.revoke(self.ann.pk, id), False)
        self.assertEqual([self.is_there(client) for client in clients], [False, True, True, True])
        current = self.store(self.key(clients[1]))
        with self.assertLogs("django_cloakroom.auth", "INFO") as logs:
            self.assertEqual(user_sessions.revoke_others(self.ann.pk, current), 2)
        self.assertNotIn(self.key(clients[2]), str([vars(record) for record in logs.records]))
        self.assertEqual([self.is_there(client) for client in clients], [False, True, False, False])
        self.assertEqual(user_sessions.revoke_all(self.ann.pk), 1)
        self.assertEqual(self.listed(), [])

    def test_a_change_of_key_takes_the_entry_along(self):
        client = self.login()
        first = self.listed()[0]
        session = self.store(self.key(client))
        session.cycle_key()
        (moved,) = self.listed()
        self.assertEqual(moved.id, user_sessions.public_id(session.session_key))
        self.assertEqual((moved.first_seen, moved.user_agent), (first.first_seen, FIREFOX))
        # In its first minute the old entry may belong to a session that is not written yet.
        self.assertEqual(len(self.index.of_user(str(self.ann.pk))), 2)
        with later(120):
            self.assertEqual(len(self.listed()), 1)
        self.assertEqual(len(self.index.of_user(str(self.ann.pk))), 1)

    def test_a_session_that_was_lost_is_noted_when_it_is_loaded(self):
        client = self.login()
        self.index.remove(self.index.of_user(str(self.ann.pk)))
        client.get("/put/a")
        # This process has noted it lately.
        self.assertEqual(self.listed(), [])
        with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()):
            client.get("/visit/a")
        self.assertEqual(len(self.listed()), 1)

    def test_last_seen_advances_and_first_seen_stays(self):
        client = self.login()
        before = self.listed()[0]
        with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()), later(600):
            client.get("/visit/a")
        after = self.listed()[0]
        self.assertEqual(after.first_seen, before.first_seen)
        self.assertGreater(after.last_seen, before.last_seen + timedelta(seconds=500))
        # An older note of a slower process changes nothing.
        with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()):
            client.get("/visit/a")
        self.assertEqual(self.listed()[0].last_seen, after.last_seen)

    def test_an_entry_gives_no_access_and_ends_no_session_of_anothers(self):
        client = self.login()
        now = datetime.now(timezone.utc)
        self.index.put(Entry("99", self.key(client), now, now))
        self.assertEqual(user_sessions.list_sessions("99"), [])
        self.assertEqual(user_sessions.revoke_all("99"), 0)
        self.assertTrue(self.is_there(client))

    def test_a_login_fails_with_its_entry(self):
        client = Client(raise_request_exception=False)
        with mock.patch.object(type(self.index), "put", side_effect=OSError("down")):
            self.assertEqual(client.get("/sign_in/ann").status_code, 500)
        self.assertEqual(self.listed(), [])
        # A session that is noted again needs no index.
        client = self.login()
        with mock.patch.object(type(self.index), "put", side_effect=OSError("down")):
            with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()):
                with self.assertLogs("django_cloakroom.user_sessions", "WARNING"):
                    self.assertEqual(client.get("/put/a").status_code, 200)

    def test_a_session_that_moves_while_it_is_looked_up_is_ended(self):
        client = self.login()
        look = user_sessions._sessions
        missed = []

        def misses_once(store, session_keys):
            # Too early at the new key, and too late at the old one.
            missed.append(session_keys)
            return {} if len(missed) == 1 else look(store, session_keys)

        with mock.patch.object(user_sessions, "_sessions", misses_once):
            self.assertEqual(user_sessions.revoke_all(self.ann.pk), 1)
        self.assertFalse(self.is_there(client))

    def test_nobody_escapes_by_changing_keys(self):
        for _ in range(3):
            clients = [self.login() for _ in range(4)]

            def move(number, wait, clients=clients):
                wait()
                if number == 0:
                    user_sessions.revoke_all(self.ann.pk)
                    return
                try:
                    session = self.store(self.key(clients[number - 1]))
                    for _ in range(5):
                        session.cycle_key()
                except Exception as error:
                    # Ended, as it should be; or a busy SQLite.
                    self.assertRegex(str(error), "deleted before|locked")

            self.assertEqual(in_threads(5, move), [])
            user_sessions.revoke_all(self.ann.pk)
            self.assertEqual(self.listed(), [])

    def test_the_template_tag(self):
        client = self.login()
        other = self.login()
        request = RequestFactory().get("/")
        request.session = self.store(self.key(client))
        engine = Engine(libraries={"cloakroom": "django_cloakroom.templatetags.cloakroom"})
        template = engine.from_string(
            "{% load cloakroom %}{% user_sessions as sessions %}{% for session in sessions %}"
            "{{ session.device }}{% if session.is_current %} (this one){% endif %};{% endfor %}"
        )
        shown = template.render(Context({"request": request})).split(";")[:-1]
        self.assertEqual(sorted(shown), ["Firefox on Linux", "Firefox on Linux (this one)"])
        self.assertEqual([session.is_current for session in user_sessions.list_sessions(self.ann.pk)], [False, False])
        request.session = self.store()
        self.assertEqual(template.render(Context({"request": request})), "")
        other.get("/sign_out")

    def test_the_commands(self):
        here, there = self.login(), self.login()
        user = str(self.ann.pk)
        output, code = called("list", "--user", user)
        self.assertEqual((len(output.splitlines()), code), (2, 0))
        self.assertIn("127.0.0.1", output)
        self.assertNotIn(self.key(here), output)
        output, _ = called("list", "--user", user, "--json")
        values = json.loads(output.splitlines()[0])
        self.assertEqual((values["user"], values["user_agent"], len(values["id"])), (user, FIREFOX, 12))
        id = user_sessions.public_id(self.key(here))[:12]
        output, _ = called("revoke", "--user", user, "--except", id, "--dry-run")
        self.assertEqual(output, f"1 sessions of user {user} found; nothing was revoked\n")
        output, _ = called("revoke", "--user", user, "--except", id)
        self.assertEqual(output, f"1 session of user {user} revoked\n")
        self.assertEqual([self.is_there(client) for client in (here, there)], [True, False])
        self.assertEqual(called("revoke", "--user", user, "--id", "0" * 12)[1], 1)
        with self.assertRaisesMessage(CommandError, "12 digits"):
            called("revoke", "--user", user, "--id", "../x")
        self.assertEqual(called("revoke", "--user", user, "--id", id)[1], 0)
        self.assertEqual(self.listed(), [])
        with override_settings(CLOAKROOM_USER_SESSIONS=False), self.assertRaisesMessage(CommandError, "keeps no index"):
            called("list", "--user", user)

    def cloakroom(self, *arguments):
        """Runs the Rust library's command on the same store."""
        if not COMMAND.exists():
            self.fail(f"{COMMAND} is missing; run scripts/test-python, or cargo build -p cloakroom-cli")
        environment = {
            "PATH": os.environ["PATH"],
            "CLOAKROOM_SECRET_KEY": "the tests' secret",
            "CLOAKROOM_STORE": self.url(),
        }
        command = [COMMAND, *arguments, "--naive-time-zone", "America/Chicago"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_rust_command_sees_the_same_list(self):
        here, there = self.login(), self.login()
        user = str(self.ann.pk)
        mine, _ = called("list", "--user", user, "--json")
        mine = [json.loads(line) for line in mine.splitlines()]
        rust = self.cloakroom("user-sessions", "list", "--user", user, "--json")
        rust = [json.loads(line) for line in rust.splitlines()]
        for values in mine + rust:
            # Django's cache API does not tell it.
            if self.engine is cache_engine:
                values.pop("expire_date")
        self.assertEqual(mine, rust)
        # In UTC, though TIME_ZONE is another.
        seen = datetime.fromisoformat(rust[0]["last_seen"].replace("Z", "+00:00"))
        self.assertLess(abs(datetime.now(timezone.utc) - seen), timedelta(minutes=5))
        id = user_sessions.public_id(self.key(here))[:12]
        self.cloakroom("user-sessions", "revoke", "--user", user, "--id", id)
        self.assertEqual([self.is_there(client) for client in (here, there)], [False, True])
        self.assertEqual([session.id for session in self.listed()], [user_sessions.public_id(self.key(there))])
        # What the command notes is listed here.
        before = self.listed()
        self.index.remove(self.index.of_user(user))
        self.cloakroom("user-sessions", "rebuild")
        self.assertEqual([session.id for session in self.listed()], [session.id for session in before])
        # And the other way.
        self.assertEqual(user_sessions.revoke_all(user), 1)
        self.assertEqual(self.cloakroom("user-sessions", "list", "--user", user, "--json"), "")


class InDatabase(Index, TransactionTestCase):
    engine = db

    def url(self):
        of = connection.settings_dict
        if connection.vendor == "sqlite":
            return f"sqlite:{of['NAME']}"
        scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
        return f"{scheme}://{of['USER']}:{of['PASSWORD']}@{of['HOST']}:{of['PORT']}/{of['NAME']}"

    def test_what_it_costs(self):
        def statements(work):
            with CaptureQueriesContext(connection) as queries:
                work()
            tables = ("django_session", self.index.name)
            return [query["sql"].split()[0] for query in queries if any(table in query["sql"] for table in tables)]

        client = Client()
        self.assertEqual(statements(lambda: client.get("/sign_in/ann")), ["INSERT", "INSERT", "UPDATE"])
        self.assertEqual(statements(lambda: client.get("/visit/a")), ["SELECT", "UPDATE"])
        self.assertEqual(statements(lambda: client.get("/sign_out")), ["SELECT", "DELETE", "DELETE"])
        with override_settings(CLOAKROOM_USER_SESSIONS=False):
            self.assertEqual(statements(lambda: client.get("/sign_in/ann")), ["INSERT", "UPDATE"])

    def test_a_rolled_back_login_is_noted_by_the_next(self):
        session = self.store()
        session["_auth_user_id"] = "7"
        with transaction.atomic():
            session.save()
            transaction.set_rollback(True)
        again = self.store()
        again["_auth_user_id"] = "7"
        again._session_key = session.session_key
        again.save(must_create=True)
        self.assertEqual(len(user_sessions.list_sessions("7")), 1)

    def test_a_failed_note_does_not_break_the_requests_transaction(self):
        client = self.login()
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {self.index.table} RENAME TO {connection.ops.quote_name('elsewhere')}")
        try:
            with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()), transaction.atomic():
                with self.assertLogs("django_cloakroom.user_sessions", "WARNING"):
                    self.assertTrue(self.store(self.key(client)).has_key("_auth_user_id"))
                self.assertEqual(User.objects.count(), 1)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {connection.ops.quote_name('elsewhere')} RENAME TO {self.index.table}")

    def test_logins_of_djangos_engine_are_rebuilt_and_gone_ones_cleaned(self):
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db"):
            client = self.login()
        self.assertEqual(self.listed(), [])
        Session.objects.create(session_key="u" * 32, session_data="rubbish", expire_date=datetime(2100, 1, 1))
        output, code = called("rebuild")
        self.assertEqual(output, "2 sessions looked at, 1 with a user are in the index, 0 entries removed\n")
        self.assertEqual(code, 3)
        self.assertEqual([session.id for session in self.listed()], [user_sessions.public_id(self.key(client))])
        DjangoStore(self.key(client)).delete()
        with later(120):
            output, _ = called("clean", "--dry-run")
            self.assertEqual(output, "1 entries checked, 1 found; nothing was removed\n")
            self.assertEqual(called("clean")[0], "1 entries checked, 1 removed\n")
        self.assertEqual(self.index.of_user(str(self.ann.pk)), [])

    def test_sessions_of_another_secret_stay_and_are_told(self):
        client = self.login()
        user = str(self.ann.pk)
        with override_settings(SECRET_KEY="another"), later(120):
            self.assertEqual(called("list", "--user", user), ("", 3))
            self.assertEqual(user_sessions.revoke_all(user), 0)
        self.assertTrue(self.is_there(client))
        self.assertEqual(len(self.listed()), 1)

    def test_migrate_creates_the_table(self):
        self.clear()
        call_command("migrate", verbosity=0)
        self.assertEqual(self.listed(), [])
        self.assertIs(self.index.create_table(), False)

    def test_the_table_is_the_rust_commands(self):
        def columns():
            with connection.cursor() as cursor:
                found = connection.introspection.get_table_description(cursor, self.index.name)
            return [(column.name, column.type_code, column.null_ok, column.collation) for column in found]

        mine = columns()
        self.clear()
        self.cloakroom("create-table", "--user-sessions")
        self.assertEqual(columns(), mine)

    @skipUnless(hasattr(DjangoStore, "asave"), "Django before 5.1 has no async sessions")
    async def test_async(self):
        session = self.store()
        await session.aset("_auth_user_id", "7")
        await session.asave()
        from asgiref.sync import sync_to_async

        list_sessions = sync_to_async(user_sessions.list_sessions)
        self.assertEqual(len(await list_sessions("7")), 1)
        with mock.patch.object(user_sessions, "_seen", user_sessions.Seen()), later(600):
            await self.store(session.session_key).aget("a")
        (found,) = await list_sessions("7")
        self.assertGreater(found.last_seen, found.first_seen)
        loaded = self.store(session.session_key)
        await loaded.aget("a")
        await loaded.aflush()
        self.assertEqual(await sync_to_async(self.index.of_user)("7"), [])


class InDatabaseBesideCopies(InDatabase):
    engine = cached_db


class InRedis(Index, TransactionTestCase):
    engine = cache_engine

    def settings(self):
        return {"CACHES": {"default": redis()}}

    def url(self):
        return caches["default"]._servers[0]

    def test_the_whole_index_is_the_commands_work(self):
        with self.assertRaisesMessage(CommandError, "cloakroom user-sessions clean"):
            called("clean")


del Index
