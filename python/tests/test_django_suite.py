"""Django's own tests of its database engine, on ours: `sessions_tests` of the source package."""

from custom_store import SessionStore as CustomStore
from django.test import override_settings
from sessions_tests import tests as django_tests

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


# The middleware's tests take the engine from the settings.
SessionMiddlewareTests = django_tests.SessionMiddlewareTests
