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

    def users():
        """The user model's table, for whoever does in it what Django's `get_user` does."""
        from django.apps import apps

        if not apps.is_installed("django.contrib.auth"):
            return {"problem": "the project has no users: `django.contrib.auth` is not in INSTALLED_APPS"}
        from django.contrib.auth import REDIRECT_FIELD_NAME, get_user_model, load_backend
        from django.contrib.auth.backends import ModelBackend
        from django.contrib.auth.base_user import AbstractBaseUser
        from django.core.exceptions import FieldDoesNotExist
        from django.shortcuts import resolve_url

        model = get_user_model()
        meta = model._meta
        label = meta.label
        notes = []

        class Problem(Exception):
            pass

        def field_of(attribute):
            """The field of this name, unless its values are made by Python code."""
            try:
                field = meta.get_field(attribute)
            except FieldDoesNotExist:
                return None
            return field if field.concrete and not hasattr(field, "from_db_value") else None

        def column(attribute):
            field = field_of(attribute)
            if field is None or field.column is None:
                raise Problem(f"the user model {label} has no plain column for `{attribute}`: only Django can read it")
            table = field.model._meta.concrete_model._meta.db_table
            if table != meta.db_table:
                raise Problem(
                    f"the user model {label} inherits from another model with a table of its own (multi-table inheritance): "
                    f"`{attribute}` is in {table} and not in {meta.db_table}, and one table must have both"
                )
            return field.column

        def flag(attribute, usual):
            """The column of a flag; None where all users have the usual value."""
            field = field_of(attribute)
            if field is not None and field.get_internal_type() == "BooleanField":
                return column(attribute)
            if field is None and getattr(model, attribute, usual) is usual:
                return None
            if usual:
                raise Problem(
                    f"the user model {label} has no boolean column `{attribute}`: its own code says who is active, which only "
                    "Django can run. Make it a BooleanField"
                )
            notes.append(f"the user model {label} has no boolean column `{attribute}`, so that nobody counts as `{attribute}`")
            return None

        def permission_tables():
            groups, permissions = (
                next((field for field in meta.many_to_many if field.name == wanted), None)
                for wanted in ("groups", "user_permissions")
            )
            if groups is None and permissions is None:
                return None
            if groups is not None and permissions is not None:
                found = [
                    (
                        field.related_model._meta.label,
                        field.m2m_reverse_name(),
                        field.m2m_column_name(),
                    )
                    for field in (groups, permissions)
                ]
                user = found[0][2]
                if found == [("auth.Group", "group_id", user), ("auth.Permission", "permission_id", user)]:
                    return {
                        "groups": groups.remote_field.through._meta.db_table,
                        "permissions": permissions.remote_field.through._meta.db_table,
                        "user": user,
                    }
            notes.append(f"the user model {label} keeps groups and permissions in its own way, so that nobody has any")
            return None

        def backends():
            accepted = []
            for path in settings.AUTHENTICATION_BACKENDS:
                kind = type(load_backend(path))
                parts = ("get_user", "user_can_authenticate")
                own = [part for part in parts if getattr(kind, part, None) is not getattr(ModelBackend, part)]
                if own:
                    notes.append(
                        f"logins by the authentication back end {path} count as nobody: its own `{own[0]}` says who is "
                        "logged in, which only Django can run"
                    )
                else:
                    accepted.append(path)
            if not accepted:
                raise Problem(
                    "none of the project's AUTHENTICATION_BACKENDS finds users as Django's ModelBackend does; its logins can be "
                    "verified by Django alone"
                )
            return accepted

        try:
            for part in ("get_session_auth_hash", "_get_session_auth_hash", "get_session_auth_fallback_hash"):
                if getattr(model, part, None) is not getattr(AbstractBaseUser, part, None):
                    raise Problem(
                        f"the user model {label} has a `{part}` of its own: only Django can tell whether a login is still valid"
                    )
            rows = model._default_manager.all()
            if rows.query.where or rows.query.is_sliced or rows.query.combinator:
                raise Problem(
                    f"the default manager of the user model {label} leaves out some of the table's rows, so that only Django "
                    "can tell who is a user. Set `Meta.default_manager_name` to a manager without a filter"
                )
            email = model.get_email_field_name()
            found = {
                "table": meta.db_table,
                "database": database(rows.db),
                "id": column(meta.pk.name),
                "username": column(model.USERNAME_FIELD),
                "password": column("password"),
                "is_active": flag("is_active", True),
                "is_staff": flag("is_staff", False),
                "is_superuser": flag("is_superuser", False),
                "email": column(email) if field_of(email) is not None else None,
                "permissions": permission_tables(),
                "backends": backends(),
            }
        except Problem as problem:
            return {"problem": str(problem)}
        return {
            "found": found,
            "login_url": str(resolve_url(settings.LOGIN_URL)),
            "redirect_field": REDIRECT_FIELD_NAME,
            "notes": notes,
        }

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

    if os.environ.get("CLOAKROOM_ASKS_FOR") == "users":
        found["users"] = users()

    def text_of(value):
        return plain(value) if isinstance(value, bytes) else str(value)

    print("\ncloakroom-settings " + json.dumps(found, default=text_of))


_cloakroom_settings()
