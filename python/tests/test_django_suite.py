"""Django's own tests of its engines, on ours: `sessions_tests` of the source package."""

from custom_store import SessionStore as CustomStore
from django.test import override_settings
from sessions_tests import tests as django_tests

from django_cloakroom.cache import SessionStore as CacheStore
from django_cloakroom.cached_db import SessionStore as CachedStore
from django_cloakroom.db import SessionStore


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


# The middleware's tests take the engine from the settings.
SessionMiddlewareTests = django_tests.SessionMiddlewareTests
