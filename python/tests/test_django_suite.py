"""Django's own tests of its engines, on ours: `sessions_tests` of the source package."""

import inspect

from custom_store import SessionStore as CustomStore
from django.contrib.sessions.backends.file import SessionStore as DjangosFileStore
from django.test import override_settings
from sessions_tests import tests as django_tests

from django_cloakroom.cache import SessionStore as CacheStore
from django_cloakroom.cached_db import SessionStore as CachedStore
from django_cloakroom.db import SessionStore
from django_cloakroom.file import SessionStore as FileStore
from django_cloakroom.signed_cookies import SessionStore as CookieStore


class DatabaseSessionTests(django_tests.DatabaseSessionTests):
    backend = SessionStore
    session_engine = "django_cloakroom.db"


@override_settings(USE_TZ=True)
class DatabaseSessionWithTimeZoneTests(DatabaseSessionTests):
    pass


class CustomDatabaseSessionTests(django_tests.CustomDatabaseSessionTests):
    backend = CustomStore
    session_engine = "custom_store"


class CacheDBSessionTests(django_tests.CacheDBSessionTests):
    backend = CachedStore

    def test_exists_searches_cache_first(self):
        # Differs from Django's test, whose session is empty: an empty copy is how the Rust library marks a logout, so
        # the database is asked about it.
        self.session["x"] = 1
        super().test_exists_searches_cache_first()


@override_settings(USE_TZ=True)
class CacheDBSessionWithTimeZoneTests(CacheDBSessionTests):
    pass


class CacheSessionTests(django_tests.CacheSessionTests):
    backend = CacheStore


class FileSessionTests(django_tests.FileSessionTests):
    backend = FileStore

    def setUp(self):
        # Django's own engine may have noted its folder in this process, on the class that ours inherits from.
        DjangosFileStore.__dict__.get("_storage_path") and delattr(DjangosFileStore, "_storage_path")
        super().setUp()

    @override_settings(SESSION_COOKIE_AGE=0)
    def test_clearsessions_command(self):
        # Django's test names Django's engine in its settings.
        with self.settings(SESSION_ENGINE="django_cloakroom.file"):
            inspect.unwrap(django_tests.FileSessionTests.test_clearsessions_command)(self)


class FileSessionPathLibTests(FileSessionTests, django_tests.FileSessionPathLibTests):
    pass


class CookieSessionTests(django_tests.CookieSessionTests):
    backend = CookieStore


# The command asks the engine whether it can clear. SessionBaseTests are about Django's base class alone.
ClearSessionsCommandTests = django_tests.ClearSessionsCommandTests
# The middleware's tests take the engine from the settings.
SessionMiddlewareTests = django_tests.SessionMiddlewareTests
