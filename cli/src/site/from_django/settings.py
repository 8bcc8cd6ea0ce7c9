"""Run by `manage.py shell -c`: prints what the session engine of this project goes by, as one line of JSON."""


def _cloakroom_settings():
    import json
    import tempfile
    from importlib import import_module

    from django.conf import settings

    store = import_module(settings.SESSION_ENGINE).SessionStore
    # An engine of the project's own is known by the one of Django's that it builds on.
    engine = next((base.__module__ for base in store.__mro__ if base.__module__.startswith("django.contrib.")), None)
    # Another serializer is refused, and may not be able to write.
    text = store().encode({}) if settings.SESSION_SERIALIZER.endswith("JSONSerializer") else ":"
    found = {
        "secret_key": settings.SECRET_KEY,
        "secret_key_fallbacks": list(getattr(settings, "SECRET_KEY_FALLBACKS", [])),
        "session_engine": settings.SESSION_ENGINE,
        "engine": engine,
        "session_class": store.__qualname__,
        "serializer": settings.SESSION_SERIALIZER,
        "file_path": settings.SESSION_FILE_PATH or tempfile.gettempdir(),
        # Only modern text has colons. What is written depends on Django's release, and in 3.1 and 3.2 on a setting,
        # which later releases leave alone. Where it is legacy text, `signed_cookies` signs with SHA-1.
        "text_format": "modern" if ":" in text else "legacy",
        "time_zone": None if settings.USE_TZ else settings.TIME_ZONE,
        "save_every_request": settings.SESSION_SAVE_EVERY_REQUEST,
        "expire_at_browser_close": settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
        "cookie": {
            name: getattr(settings, "SESSION_COOKIE_" + name.upper())
            for name in ("name", "age", "domain", "path", "secure", "httponly", "samesite")
        },
    }
    if hasattr(store, "get_model_class"):
        from django.db import router

        model = store.get_model_class()
        alias = router.db_for_write(model)
        found["table"] = model._meta.db_table
        found["database_alias"] = alias
        found["database"] = settings.DATABASES[alias]
    if hasattr(store(), "_cache"):
        alias = settings.SESSION_CACHE_ALIAS
        found["cache_alias"] = alias
        found["cache"] = settings.CACHES[alias]
        # What the project's KEY_FUNCTION puts before a key, if that is all it does.
        keys = [store.cache_key_prefix + letter * 32 for letter in "ab"]
        heads = {
            name[: -len(key)] if name.endswith(key) else None
            for key, name in ((key, str(store()._cache.make_key(key))) for key in keys)
        }
        found["entry_prefix"] = heads.pop() if len(heads) == 1 else None

    def plain(value):
        return {"hex": value.hex()} if isinstance(value, bytes) else str(value)

    print("\ncloakroom-settings " + json.dumps(found, default=plain))


_cloakroom_settings()
