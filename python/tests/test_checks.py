"""The system checks, and what is said where the native part is missing."""

import importlib
import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.core import checks
from django.db import connections
from django.test import SimpleTestCase, TransactionTestCase, override_settings

import django_cloakroom
import django_cloakroom.db
import django_cloakroom.file
from django_cloakroom.checks import check_secret, check_session_engine

CACHES = "django.core.cache.backends."


class Overriding(django_cloakroom.db.SessionStore):
    def save(self, must_create=False):
        pass


class Naming(django_cloakroom.file.SessionStore):
    def _key_to_file(self, session_key=None):
        return "elsewhere"


class Checks(SimpleTestCase):
    databases = {"default"}

    def found(self, engine, backend="redis.RedisCache", **settings):
        caches = {"default": {"BACKEND": CACHES + backend, "LOCATION": "redis://127.0.0.1"}}
        with override_settings(SESSION_ENGINE=engine, CACHES=caches, **settings):
            return [message.id for message in check_session_engine(None)]

    def test_settings_that_work(self):
        for engine in ("db", "cached_db", "cache"):
            self.assertEqual(self.found(f"django_cloakroom.{engine}"), [], engine)

    def test_the_folder_of_files(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.found("django_cloakroom.file", SESSION_FILE_PATH=folder), [])
            away = self.found("django_cloakroom.file", SESSION_FILE_PATH=folder + "/away")
            self.assertEqual(away, ["cloakroom.E010"])
            # Not a folder, so nobody can write to it, not even root.
            (Path(folder) / "file").touch()
            no_folder = self.found("django_cloakroom.file", SESSION_FILE_PATH=folder + "/file")
            self.assertEqual(no_folder, ["cloakroom.E010"])
            prefix = self.found("django_cloakroom.file", SESSION_FILE_PATH=folder, SESSION_COOKIE_NAME="a/b")
            self.assertEqual(prefix, ["cloakroom.E010"])

    def test_a_subclass_with_file_names_of_its_own(self):
        module = mock.Mock(SessionStore=Naming)
        with mock.patch.dict(sys.modules, {"naming": module}):
            self.assertEqual(self.found("naming"), ["cloakroom.E012"])

    def test_pickles_in_cookies(self):
        self.assertEqual(self.found("django_cloakroom.signed_cookies"), [])
        pickles = "django.contrib.sessions.serializers.PickleSerializer"
        found = self.found("django_cloakroom.signed_cookies", SESSION_SERIALIZER=pickles)
        self.assertEqual(found, ["cloakroom.E011"])

    def test_other_engines_are_not_checked(self):
        self.assertEqual(self.found("django.contrib.sessions.backends.cache", "dummy.DummyCache"), [])

    def test_a_cache_that_cannot_compare_and_swap(self):
        self.assertEqual(self.found("django_cloakroom.cache", "dummy.DummyCache"), ["cloakroom.E003"])
        self.assertEqual(self.found("django_cloakroom.cache", SESSION_CACHE_ALIAS="missing"), ["cloakroom.E003"])

    def test_a_cache_that_is_not_shared(self):
        self.assertEqual(self.found("django_cloakroom.cache", "locmem.LocMemCache"), ["cloakroom.W001"])
        self.assertEqual(self.found("django_cloakroom.cached_db", "locmem.LocMemCache"), ["cloakroom.W002"])
        self.assertEqual(self.found("django_cloakroom.cached_db", "locmem.LocMemCache", DEBUG=True), [])

    def test_an_index_of_user_sessions_that_cannot_be(self):
        with override_settings(CLOAKROOM_USER_SESSIONS=True):
            for engine in ("db", "cached_db", "cache"):
                self.assertEqual(self.found(f"django_cloakroom.{engine}"), [], engine)
            # Nor does memcached: only Redis can add to a list.
            self.assertEqual(self.found("django_cloakroom.cache", "locmem.LocMemCache", DEBUG=True), ["cloakroom.E004"])
            # Django's own engines note nobody.
            self.assertEqual(self.found("django.contrib.sessions.backends.db"), ["cloakroom.E004"])

    def test_a_database_that_was_never_tried(self):
        with mock.patch.object(connections["default"], "vendor", "oracle", create=True):
            self.assertEqual(self.found("django_cloakroom.db"), ["cloakroom.E002"])

    def test_a_subclass_that_saves_by_itself(self):
        module = mock.Mock(SessionStore=Overriding)
        with mock.patch.dict(sys.modules, {"overriding": module}):
            self.assertEqual(self.found("overriding"), ["cloakroom.W003"])

    def test_the_app_registers_them(self):
        self.assertIn(check_session_engine, checks.registry.registry.get_checks())
        self.assertIn(check_secret, checks.registry.registry.get_checks())


class Secret(TransactionTestCase):
    def found(self, **settings):
        with override_settings(**settings):
            return [message.id for message in check_secret(None, databases=["default"])]

    def stored(self, count, **settings):
        with override_settings(**settings):
            for _ in range(count):
                django_cloakroom.db.SessionStore().create()

    def test_a_secret_that_differs_from_the_other_sides(self):
        self.assertEqual(self.found(), [])
        self.stored(2, SECRET_KEY="the Rust service's")
        # Two may be anybody's.
        self.assertEqual(self.found(), [])
        self.stored(1, SECRET_KEY="the Rust service's")
        self.assertEqual(self.found(), ["cloakroom.W004"])
        self.assertEqual(self.found(SECRET_KEY_FALLBACKS=["the Rust service's"]), [])
        self.assertEqual(self.found(SECRET_KEY="the Rust service's"), [])
        self.stored(3)
        # Half of them: the secret was replaced.
        self.assertEqual(self.found(), [])

    def test_it_says_nothing_of_the_secrets(self):
        self.stored(3, SECRET_KEY="the Rust service's")
        self.assertNotIn("the Rust", str(check_secret(None, databases=["default"])).replace("such as a Rust", ""))

    def test_no_database_is_asked_that_was_not_named(self):
        self.stored(3, SECRET_KEY="another")
        with self.assertNumQueries(0):
            self.assertEqual(check_secret(None), [])


class Import(SimpleTestCase):
    def test_a_missing_native_part_is_told(self):
        modules = {name: module for name, module in sys.modules.items() if name.startswith("django_cloakroom")}
        with mock.patch.dict(sys.modules):
            for name in modules:
                del sys.modules[name]
            # As for a platform without a wheel.
            sys.modules["django_cloakroom._core"] = None
            with self.assertRaisesRegex(ImportError, "install the wheel of this platform"):
                importlib.import_module("django_cloakroom")
