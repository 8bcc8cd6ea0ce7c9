"""System checks: settings that cannot work with these engines, found at the start and not by a visitor."""

import tempfile
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.backends.file import SessionStore as DjangoFileStore
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.checks import Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

SUPPORTED = ("sqlite", "postgresql", "mysql")
# Sessions that are read to compare the secret; and of so many that do not fit, it is told.
SAMPLE = 100
FEWEST = 3


def check_session_engine(app_configs, **kwargs):
    """Checks what SESSION_ENGINE names, if it is one of these engines or a subclass of one."""
    from .base import MergingStore
    from .signed_cookies import SessionStore as CookieStore

    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        # Django's middleware says it.
        return []
    if issubclass(store, CookieStore):
        return _check_cookies() + _check_index(store)
    if not issubclass(store, MergingStore):
        return _check_index(store)
    from . import cache, cached_db, db, file

    found = []
    if issubclass(store, db.SessionStore):
        found += _check_database(store)
    if issubclass(store, cache.SessionStore):
        found += _check_swapping()
    if issubclass(store, cached_db.SessionStore):
        found += _check_copies()
    if issubclass(store, file.SessionStore):
        found += _check_folder(store)
    return found + _check_index(store) + _check_overrides(store)


def check_secret(app_configs, databases=None, **kwargs):
    """
    Whether the stored sessions are signed with this site's secret, as the Rust library looks at its start. Django runs
    it where databases are named: in `migrate`, and in `check --database default`.
    """
    from . import db, user_sessions

    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        return []
    if not issubclass(store, db.SessionStore):
        return []
    try:
        alias = router.db_for_write(store.get_model_class())
        if alias not in (databases or ()):
            return []
        page = next(store._cloakroom_pages(SAMPLE), {})
    except Exception:
        # No table yet, or no database: others say it.
        return []
    users = [user for user, _expire_date in page.values() if user is not user_sessions.UNKNOWN]
    foreign = users.count(user_sessions.FOREIGN)
    # Fewer prove nothing: they may be another program's leftovers.
    if foreign < FEWEST or foreign * 2 <= len(users):
        return []
    return [
        Warning(
            f"{foreign} of {len(users)} stored sessions are not signed with this site's secret: their users are not "
            "logged in here.",
            hint="Compare SECRET_KEY and SECRET_KEY_FALLBACKS with those of the other servers of the site, such as a "
            "Rust service, and the session class.",
            id="cloakroom.W004",
        )
    ]


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


def _check_index(store):
    from . import user_sessions
    from .user_session_index import index_of

    if not user_sessions.is_enabled():
        return []
    try:
        index_of(store)
    except (ImproperlyConfigured, InvalidCacheBackendError) as error:
        return [Error(str(error), id="cloakroom.E004")]
    return []


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


def _check_folder(store):
    from .file import files

    if store._key_to_file is not DjangoFileStore._key_to_file:
        message = f"{store.__module__}.{store.__qualname__} overrides _key_to_file, and the engine names files itself."
        hint = "Set SESSION_COOKIE_NAME and SESSION_FILE_PATH instead."
        return [Error(message, hint=hint, id="cloakroom.E012")]
    # The path that the class noted may be that of earlier settings.
    folder = getattr(settings, "SESSION_FILE_PATH", None) or tempfile.gettempdir()
    files.cache_clear()
    try:
        files(str(folder), settings.SESSION_COOKIE_NAME, store.durable)
    except ImproperlyConfigured as error:
        hint = "Set SESSION_FILE_PATH to a folder on a local file system, to which the site's user can write."
        return [Error(str(error), hint=hint, id="cloakroom.E010")]
    return []


def _check_cookies():
    if not settings.SESSION_SERIALIZER.endswith("PickleSerializer"):
        return []
    return [
        Error(
            "Sessions in cookies are pickled: whoever learns SECRET_KEY can run code on the server.",
            hint="Remove SESSION_SERIALIZER, or use another engine.",
            id="cloakroom.E011",
        )
    ]
