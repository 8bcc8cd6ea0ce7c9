"""The app: `django_cloakroom` in INSTALLED_APPS adds the system checks. The engines work without it."""

from django.apps import AppConfig
from django.core.checks import Tags, register


class CloakroomConfig(AppConfig):
    name = "django_cloakroom"
    verbose_name = "Cloakroom sessions"

    def ready(self):
        from .checks import check_session_engine

        # Not tagged with `database`: those run only where a database is named.
        register(check_session_engine, Tags.security)
