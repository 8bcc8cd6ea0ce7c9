"""The engine `file`: what it shares with Django's engine and the Rust library, and what its files bear."""

import json
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.file import SessionStore as DjangosStore
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import JSONSerializer
from django.test import override_settings
from support import StoreTestCase, in_thread
from test_concurrency import LostUpdates, ResurrectedLogins

import django_cloakroom
from django_cloakroom import file
from django_cloakroom.file import SessionStore


class Spaced:
    """A serializer of a site's own."""

    def dumps(self, data):
        return json.dumps(data, indent=1).encode()

    def loads(self, data):
        return json.loads(data)


class InFolder:
    store = SessionStore
    engine = "django_cloakroom.file"
    djangos = DjangosStore

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        changed = override_settings(SESSION_FILE_PATH=folder.name)
        changed.enable()
        self.addCleanup(changed.disable)
        for store in (SessionStore, DjangosStore):
            # Where a process noted its folder.
            if "_storage_path" in vars(store):
                del store._storage_path
        super().setUp()

    def file(self, session_key):
        return self.folder / (settings.SESSION_COOKIE_NAME + session_key)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


class LostUpdatesOfFile(InFolder, LostUpdates):
    pass


class Logouts(InFolder, ResurrectedLogins):
    # It is about transactions.
    test_a_rolled_back_save_is_not_taken_for_saved_by_others = None

    def assert_nothing_stored(self, session_key):
        self.assertEqual(self.items(session_key), {})
        self.assertEqual(self.names(), [])

    def test_djangos_engine_makes_the_login_anew(self):
        super().test_djangos_engine_makes_the_login_anew()
        self.assertEqual(len(self.names()), 1)

    def test_a_logout_during_a_save(self):
        session_key = self.stored(user=7)

        class Late(self.store):
            def _cloakroom_statements(late, data, now):
                # After the load and before the file is compared and replaced.
                in_thread(lambda: self.store(session_key).flush())
                return super()._cloakroom_statements(data, now)

        # The class's name is in the signature's salt.
        Late.__qualname__ = "SessionStore"
        for save in (Late.save, Late.cycle_key):
            late = Late(session_key)
            late["late"] = True
            with self.assertRaises(UpdateError):
                save(late)
            self.assert_nothing_stored(session_key)
            session_key = self.stored(user=7)

    def test_djangos_logout_between_two_attempts(self):
        session_key = self.stored(user=7)

        class Late(self.store):
            def _cloakroom_live(late, session_key):
                live = super()._cloakroom_live(session_key)
                in_thread(lambda: DjangosStore(session_key).flush())
                return live

        Late.__qualname__ = "SessionStore"
        late = Late(session_key)
        late["late"] = True
        with self.assertRaises(UpdateError):
            late.save()
        self.assert_nothing_stored(session_key)


class Engine(InFolder, StoreTestCase):
    def test_either_engine_reads_the_others_files(self):
        mine, djangos = SessionStore(), DjangosStore()
        for session in (mine, djangos):
            session["cart"] = [1, {"a": None}]
            session.save()
        for session in (mine, djangos):
            for store in (SessionStore, DjangosStore):
                self.assertEqual(store(session.session_key)["cart"], [1, {"a": None}])
        self.assertEqual(self.file(mine.session_key).stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(self.names()), 2)

    def test_the_files_that_django_makes_first(self):
        # Django's `create` makes an empty file, and a crash leaves it.
        self.file("a" * 32).touch()
        session = SessionStore("a" * 32)
        self.assertEqual(dict(session.items()), {})
        session["a"] = 1
        session.save()
        self.assertEqual(session.session_key, "a" * 32)
        self.assertEqual(dict(DjangosStore("a" * 32).items()), {"a": 1})

    def test_what_nobody_touched_stays_letter_for_letter(self):
        session_key = self.stored(a=1)
        with mock.patch.object(JSONSerializer, "dumps", lambda _self, _data: b'{"f": 1.50, "a":1}'):
            text = DjangosStore().encode({"any": 1})
        self.file(session_key).write_text(text)
        session = SessionStore(session_key)
        session["a"] = 2
        session.save()
        stored = SessionStore(session_key)
        stored.load()
        self.assertIn('"f":1.50', stored._cloakroom_origin[1].json.replace(" ", ""))

    def test_a_save_merges_and_counts(self):
        session_key = self.stored(count=1)
        first, second = SessionStore(session_key), SessionStore(session_key)
        for session, key in ((first, "first"), (second, "second")):
            session[key] = True
            session.modify("count", lambda count: count + 1)
        first.save()
        second.save()
        self.assertEqual(self.items(session_key), {"count": 3, "first": True, "second": True})
        self.assertIs(second["first"], True)

    def test_a_cleared_session_keeps_nothing_of_others(self):
        for is_new in (False, True):
            session_key = self.stored(a=1)
            session = SessionStore(session_key)
            session.clear()
            session["b"] = 2
            session.cycle_key() if is_new else session.save()
            self.assertEqual(self.items(session.session_key), {"b": 2})
            self.assertEqual(session.session_key != session_key, is_new)
            self.assertEqual(self.file(session_key).exists(), not is_new)

    def test_a_serializer_of_the_sites_own(self):
        with self.settings(SESSION_SERIALIZER="test_file.Spaced"):
            session_key = self.stored(a=1)
            first, second = SessionStore(session_key), SessionStore(session_key)
            first["first"] = second["second"] = True
            first.save()
            second.save()
            self.assertEqual(self.items(session_key), {"a": 1, "first": True, "second": True})
            self.assertEqual(DjangosStore(session_key)["second"], True)

    def test_a_file_of_another_secret_stays(self):
        session_key = self.stored(a=1)
        text = self.file(session_key).read_text()
        with self.settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]):
            session = SessionStore(session_key)
            with self.assertLogs("django.security.SuspiciousSession", "WARNING"):
                self.assertEqual(dict(session.items()), {})
            session["b"] = 2
            session.save()
            self.assertNotEqual(session.session_key, session_key)
        self.assertEqual(self.file(session_key).read_text(), text)

    def test_a_file_that_cannot_be_read_is_an_error_and_stays(self):
        session_key = self.stored(a=1)
        with mock.patch.object(JSONSerializer, "dumps", lambda _self, _data: b"[1"):
            self.file(session_key).write_text(DjangosStore().encode({"any": 1}))
        text = self.file(session_key).read_text()
        session = SessionStore(session_key)
        with self.assertRaises(django_cloakroom.SessionUnreadable):
            session["a"] = 2
        SessionStore.clear_expired()
        self.assertEqual(self.file(session_key).read_text(), text)

    def test_a_folder_that_is_gone_is_an_error_and_not_an_empty_session(self):
        session_key = self.stored(a=1)
        session = SessionStore(session_key)
        self.folder.rename(self.folder.with_suffix(".away"))
        self.addCleanup(self.folder.with_suffix(".away").rename, self.folder)
        with self.assertRaisesMessage(OSError, "no such folder"):
            session.get("a")
        with self.assertRaisesMessage(OSError, "no such folder"):
            session.delete()

    def test_a_folder_in_which_no_session_can_be_kept(self):
        file.files.cache_clear()
        self.addCleanup(file.files.cache_clear)
        with mock.patch.object(django_cloakroom._core, "Files", side_effect=OSError("cannot exchange two files")):
            with self.assertRaisesMessage(ImproperlyConfigured, "cannot exchange two files"):
                self.stored(a=1)

    def test_expiry(self):
        for expiry, seconds_ago, is_there in [
            (None, settings.SESSION_COOKIE_AGE - 60, True),
            (None, settings.SESSION_COOKIE_AGE + 60, False),
            # Django's engine never expires these.
            (300, 200, True),
            (300, 400, False),
        ]:
            session = SessionStore()
            session["a"] = 1
            session.set_expiry(expiry)
            session.save()
            written = time.time() - seconds_ago
            os.utime(self.file(session.session_key), (written, written))
            with self.subTest(expiry=expiry, seconds_ago=seconds_ago):
                again = SessionStore(session.session_key)
                self.assertEqual("a" in again, is_there)
                # Nobody else's renewal is removed by a reader.
                self.assertTrue(self.file(session.session_key).exists())
                if not is_there:
                    self.assertIsNone(again.session_key)
                    session["late"] = 1
                    with self.assertRaises(UpdateError):
                        # Changed meanwhile, so it is looked at again.
                        self.file(session.session_key).write_text(DjangosStore().encode({"b": 1}))
                        os.utime(self.file(session.session_key), (0, 0))
                        session.save()
                SessionStore.clear_expired()
                self.assertEqual(self.file(session.session_key).exists(), is_there)

    def test_clearing_leaves_what_is_no_session_and_removes_leftovers(self):
        self.stored(a=1)
        old = time.time() - 7200
        for name in ("other.txt", "sessionid-of-another", ".cloakroom-0000000000000001"):
            (self.folder / name).touch()
            os.utime(self.folder / name, (old, old))
        SessionStore.clear_expired()
        # A temporary file's age is that of its last change, which no test can set.
        self.assertEqual(len(self.names()), 4)

    def test_keys_that_are_no_part_of_a_file_name(self):
        (self.folder.parent / "outside").touch()
        self.addCleanup((self.folder.parent / "outside").unlink)
        for session_key in ("../outside", "a/b", "A" * 32, "ä"):
            session = SessionStore(session_key)
            self.assertEqual(dict(session.items()), {})
            self.assertIsNone(session.session_key)


class Async(InFolder, StoreTestCase):
    async def test_the_async_methods(self):
        if not hasattr(DjangosStore, "asave"):
            self.skipTest("sessions are not async before Django 5.1")
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        other = SessionStore(session.session_key)
        await other.aset("b", 2)
        await other.asave()
        await session.amodify("a", lambda a: a + 1)
        await session.acycle_key()
        stored = SessionStore(session.session_key)
        self.assertEqual(dict(await stored.aitems()), {"a": 2, "b": 2})
        await stored.aflush()
        self.assertFalse(await SessionStore(session.session_key).aexists(session.session_key))
        with self.assertRaises(UpdateError):
            await session.asave()
        await SessionStore.aclear_expired()
