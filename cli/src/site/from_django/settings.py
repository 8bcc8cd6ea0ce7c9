"""Run by `manage.py shell -c`: prints what the session engine of this project goes by, as one line of JSON.

A connection is described by what Django passes to the driver, taken from the objects that Django made. None is opened.
"""


def _cloakroom_settings():
    import json
    import os
    import tempfile
    from importlib import import_module

    from django.conf import settings

    def name(kind):
        return f"{kind.__module__}.{kind.__qualname__}"

    def plain(value):
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, bytes):
            return {"hex": value.hex()}
        if isinstance(value, dict):
            return {str(key): plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        return {"object": name(value if isinstance(value, type) else type(value))}

    def database(alias):
        from django.db import connections

        connection = connections[alias]
        # Others are refused by their names.
        is_known = connection.vendor in ("sqlite", "postgresql", "mysql")
        parameters = dict(connection.get_connection_params()) if is_known else {}
        # The Python values of each column's type, by the thousand.
        parameters.pop("conv", None)
        found = {
            "alias": alias,
            "engine": connection.settings_dict["ENGINE"],
            "vendor": connection.vendor,
            "driver": connection.Database.__name__ if is_known else "",
            "parameters": plain(parameters),
            # What Django keeps for itself.
            "apart": sorted(set(connection.settings_dict.get("OPTIONS") or {}) - set(parameters)),
            "time_zone": connection.timezone_name if is_known and settings.USE_TZ and not connection.features.supports_timezones else None,
        }
        if connection.vendor == "postgresql":
            # What libpq adds: environment variables such as PGSSLMODE.
            try:
                from psycopg import pq

                defaults = pq.Conninfo.get_defaults()
            except ImportError:
                defaults = []
            for option in defaults:
                keyword, variable = option.keyword.decode(), (option.envvar or b"").decode()
                if variable in os.environ and option.val is not None and parameters.get(keyword) in (None, ""):
                    found["parameters"][keyword] = option.val.decode()
        return found

    def redis_connections(pool):
        library = import_module(pool.connection_class.__mro__[-2].__module__.split(".")[0])
        # What the library gives every connection.
        usual = plain(library.ConnectionPool().connection_kwargs)
        parameters = plain(pool.connection_kwargs)
        found = {
            "pool": name(type(pool)),
            "connection": [name(base) for base in pool.connection_class.__mro__],
            "parameters": {key: value for key, value in parameters.items() if key not in usual or usual[key] != value},
        }
        if hasattr(pool, "sentinel_manager"):
            sentinels = [client.connection_pool for client in pool.sentinel_manager.sentinels]
            found["service"] = pool.service_name
            found["sentinels"] = [redis_connections(sentinel) for sentinel in sentinels]
        return found

    def is_of_cluster(kind):
        """By its own name, as of a pool, or by that of a base."""
        return "cluster" in name(kind).lower() or any(base.__name__.endswith("Cluster") for base in kind.__mro__)

    def redis_cache(client):
        """Of Django's client, django-redis' and django-valkey's."""
        found = {"client": name(type(client)), "serializer": name(type(client._serializer))}
        if hasattr(client, "_get_connection_pool"):
            found["servers"] = len(client._servers)
            found.update(redis_connections(client._get_connection_pool(write=True)))
            return found
        found["compressor"] = name(type(client._compressor))
        servers = list(client._server)
        found["servers"] = len(servers)
        factory = client.connection_factory
        classes = [getattr(factory, kind, None) for kind in ("redis_client_cls", "client_cls", "base_client_cls", "pool_cls")]
        cluster = [kind for kind in classes if kind is not None and is_of_cluster(kind)]
        if not cluster:
            made = client.get_client(write=True)
            if hasattr(made, "connection_pool"):
                found.update(redis_connections(made.connection_pool))
            else:
                found.update({"client": name(type(made)), "pool": "", "connection": [], "parameters": {}})
            return found
        # A client of a cluster connects when it is made; so ask for what it would be made from.
        library = import_module(cluster[0].__module__.split(".")[0])
        parse = import_module(library.__name__ + ".connection").parse_url if library.__name__ in ("redis", "valkey") else None
        parameters = dict(factory.make_connection_params(servers[0]))
        parameters.pop("url", None)
        parameters.update(getattr(factory, "pool_cls_kwargs", None) or {})
        if parse is None:
            from redis.connection import parse_url as parse
        nodes = [plain(parse(server)) for server in servers]
        kind = nodes[0].pop("connection_class", {}).get("object", "")
        found["cluster"] = [f"{node.get('host', 'localhost')}:{node.get('port', 6379)}" for node in nodes]
        found["pool"] = name(cluster[0])
        found["connection"] = [kind]
        found["parameters"] = {**plain(parameters), **nodes[0]}
        return found

    def cache(alias, of):
        found = {
            "alias": alias,
            "backend": [name(base) for base in type(of).__mro__],
            "key_prefix": str(of.key_prefix),
            "version": plain(of.version),
            "has_key_function": name_of_function(of.key_func) != "django.core.cache.backends.base.default_key_func",
            "timeout": plain(of.default_timeout),
        }
        backends = " ".join(found["backend"])
        if "django.core.cache.backends.redis.RedisCache" in backends:
            found["redis"] = redis_cache(of._cache)
        elif "django_redis.cache.RedisCache" in backends or "django_valkey." in backends:
            found["redis"] = redis_cache(of.client)
        elif "BaseMemcachedCache" in backends:
            found["memcached"] = {"servers": list(of.client_servers), "options": plain(settings.CACHES[alias].get("OPTIONS") or {})}
        elif "django.core.cache.backends.db.DatabaseCache" in backends:
            from django.db import router

            found["table"] = of._table
            found["database"] = database(router.db_for_write(of.cache_model_class))
        elif "django.core.cache.backends.filebased.FileBasedCache" in backends:
            from django.core.cache.backends.filebased import FileBasedCache

            # A class of the project's own may write other files; then it is refused by its name.
            parts = ("cache_suffix", "_key_to_file", "_write_content", "_is_expired", "get", "set")
            if all(getattr(type(of), part) == getattr(FileBasedCache, part) for part in parts):
                found["folder"] = of._dir
        if "table" in found or "folder" in found:
            options = settings.CACHES[alias].get("OPTIONS") or {}
            is_set = "MAX_ENTRIES" in options or "max_entries" in settings.CACHES[alias]
            found["usual_max_entries"] = None if is_set else of._max_entries
        return found

    def name_of_function(function):
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"

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
            part: getattr(settings, "SESSION_COOKIE_" + part.upper())
            for part in ("name", "age", "domain", "path", "secure", "httponly", "samesite")
        },
    }
    if hasattr(store, "get_model_class"):
        from django.db import router

        model = store.get_model_class()
        found["table"] = model._meta.db_table
        found["database"] = database(router.db_for_write(model))
    if hasattr(store(), "_cache"):
        of = store()._cache
        found["cache"] = cache(settings.SESSION_CACHE_ALIAS, of)
        # What the project's KEY_FUNCTION puts before a key, if that is all it does.
        keys = [store.cache_key_prefix + letter * 32 for letter in "ab"]
        heads = {
            entry[: -len(key)] if entry.endswith(key) else None
            for key, entry in ((key, str(of.make_key(key))) for key in keys)
        }
        found["cache"]["entry_prefix"] = heads.pop() if len(heads) == 1 else None

    def text_of(value):
        return plain(value) if isinstance(value, bytes) else str(value)

    print("\ncloakroom-settings " + json.dumps(found, default=text_of))


_cloakroom_settings()
