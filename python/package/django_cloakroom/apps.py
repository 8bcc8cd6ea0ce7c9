"""The app: `django_cloakroom` in INSTALLED_APPS adds the system checks. The engines work without it."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate


class CloakroomConfig(AppConfig):
    name = "django_cloakroom"
    verbose_name = "Cloakroom sessions"

    def ready(self):
        from . import one_move
        from .checks import check_secret, check_session_engine

        one_move.connect()
        # Not tagged with `database`: those run only where a database is named.
        register(check_session_engine, Tags.security)
        register(check_secret, Tags.database)
        post_migrate.connect(_create_table, sender=self)


def _create_table(using, verbosity, **kwargs):
    """
    Creates the table of the index of user sessions where the site has one. Not a migration, because the Rust library's
    command creates the same table, and a site without the index needs none.
    """
    from importlib import import_module

    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    from . import user_sessions
    from .user_session_index import index_of

    if not user_sessions.is_enabled():
        return
    try:
        index = index_of(import_module(settings.SESSION_ENGINE).SessionStore)
    except ImproperlyConfigured:
        # The system check says it.
        return
    if index.using == using and index.create_table() and verbosity:
        print(f"  Created the table {index.name}")
