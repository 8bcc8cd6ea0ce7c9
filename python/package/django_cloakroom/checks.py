"""System checks: settings that cannot work with these engines, found at the start and not by a visitor."""

from importlib import import_module

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.checks import Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

SUPPORTED = ("sqlite", "postgresql", "mysql")


def check_session_engine(app_configs, **kwargs):
    """Checks what SESSION_ENGINE names, if it is one of these engines or a subclass of one."""
    from .base import MergingStore

    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        # Django's middleware says it.
        return []
    if not issubclass(store, MergingStore):
        return []
    from . import cache, cached_db, db

    found = []
    if issubclass(store, db.SessionStore):
        found += _check_database(store)
    if issubclass(store, cache.SessionStore):
        found += _check_swapping()
    if issubclass(store, cached_db.SessionStore):
        found += _check_copies()
    return found + _check_overrides(store)


def _check_database(store):
    try:
        model = store.get_model_class()
    except RuntimeError as error:
        hint = "Add django.contrib.sessions to INSTALLED_APPS."
        return [Error(f"The session model cannot be used: {error}", hint=hint, id="cloakroom.E001")]
    alias = router.db_for_write(model)
    vendor = connections[alias].vendor
    if vendor in SUPPORTED:
        return []
    return [
        Error(
            f"Sessions are kept in the database {alias!r}, a {vendor}, which the engine has never been tested on.",
            hint="Use SQLite, PostgreSQL, MySQL or MariaDB.",
            id="cloakroom.E002",
        )
    ]


def _check_swapping():
    from .caches import LocalMemory, swapping

    alias = settings.SESSION_CACHE_ALIAS
    try:
        found = swapping(caches[alias])
    except (ImproperlyConfigured, InvalidCacheBackendError) as error:
        return [Error(str(error), id="cloakroom.E003")]
    if not isinstance(found, LocalMemory) or settings.DEBUG:
        return []
    return [
        Warning(
            f"The sessions' cache {alias!r} is the process's own memory: other processes do not see them.",
            hint="Use RedisCache, PyMemcacheCache or django_redis.",
            id="cloakroom.W001",
        )
    ]


def _check_copies():
    alias = settings.SESSION_CACHE_ALIAS
    backend = settings.CACHES.get(alias, {}).get("BACKEND", "")
    if not backend.endswith(("LocMemCache", "FileBasedCache")) or settings.DEBUG:
        return []
    return [
        Warning(
            f"The sessions' copies are in the cache {alias!r}, which processes or machines do not share: a logout is "
            "seen by the others after 5 minutes at the latest.",
            hint="Use a cache that all processes share, or the engine django_cloakroom.db.",
            id="cloakroom.W002",
        )
    ]


def _check_overrides(store):
    """A subclass that loads or saves by itself takes the protection away."""
    own = [
        name
        for name in ("load", "save", "aload", "asave")
        for cls in store.__mro__
        if name in vars(cls) and not cls.__module__.startswith(("django_cloakroom.", "django.contrib.sessions."))
    ]
    if not own:
        return []
    return [
        Warning(
            f"{store.__module__}.{store.__qualname__} overrides {', '.join(sorted(set(own)))}: unless these call the "
            "engine's own, saves at once are not merged.",
            hint="Override create_model_instance, encode and decode instead.",
            id="cloakroom.W003",
        )
    ]
