"""
The index of user sessions: who is logged in in which session, since when, seen when, from where.

Table, columns and Redis keys are those of the Rust library's index (`cloakroom::user_sessions`), so that a Rust service
and a Django site keep one list.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timezone

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from .caches import Redis, swapping

DEFAULT_TABLE = "cloakroom_user_session"
MAX_USER_ID = 255
MAX_ADDRESS = 64
MAX_USER_AGENT = 255
# Rows or entries in one statement.
PAGE = 500


@dataclass(frozen=True)
class Entry:
    """One session of one user. Its text shows no session key."""

    user_id: str
    session_key: str
    first_seen: datetime
    last_seen: datetime
    address: "str | None" = None
    user_agent: "str | None" = None

    def __repr__(self):
        return f"<Entry of user {self.user_id}>"


def client_text(text, limit):
    """A client's address or User-Agent as it is kept: without control characters, cut, None for an empty text."""
    # Category Cc, as in the Rust library.
    return "".join(letter for letter in text or "" if not _is_control(letter))[:limit] or None


def _is_control(letter):
    return letter < " " or "\x7f" <= letter <= "\x9f"


def index_of(store):
    """The index beside the sessions of this engine; ImproperlyConfigured if it can have none."""
    from . import cache, db

    if issubclass(store, db.SessionStore):
        return DatabaseIndex(router.db_for_write(store.get_model_class()))
    if issubclass(store, cache.SessionStore):
        found = swapping(caches[settings.SESSION_CACHE_ALIAS])
        if isinstance(found, Redis):
            return RedisIndex(found)
    raise ImproperlyConfigured(
        f"{store.__module__} keeps no index of user sessions; use django_cloakroom.db, django_cloakroom.cached_db, or "
        "django_cloakroom.cache on Redis, or take CLOAKROOM_USER_SESSIONS out of the settings"
    )


class DatabaseIndex:
    """A table beside that of the sessions."""

    COLUMNS = "user_id, session_key, first_seen, last_seen, address, user_agent"

    def __init__(self, using):
        self.using = using
        self.connection = connections[using]
        self.vendor = self.connection.vendor
        self.name = getattr(settings, "CLOAKROOM_USER_SESSION_TABLE", DEFAULT_TABLE)
        self.table = self.connection.ops.quote_name(self.name)

    def create_table(self):
        """Creates the table; False if it is there."""
        with self.connection.cursor() as cursor:
            if self.name in self.connection.introspection.table_names(cursor):
                return False
            time, collation, end = {
                "sqlite": ("datetime", "", " WITHOUT ROWID"),
                "postgresql": ("timestamp with time zone", "", ""),
                "mysql": ("datetime(6)", " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ""),
            }[self.vendor]
            cursor.execute(
                f"CREATE TABLE {self.table} (user_id varchar(255){collation} NOT NULL, "
                f"session_key varchar(40){collation} NOT NULL, first_seen {time} NOT NULL, last_seen {time} NOT NULL, "
                f"address varchar(64){collation}, user_agent varchar(255){collation}, "
                f"PRIMARY KEY (user_id, session_key)){end}"
            )
        return True

    def put(self, entry, moved_from=None):
        """
        Notes that a user was seen. An entry that is there keeps its first time, and its client where the new one is not
        known; a new one takes both from the entry of the key that the session moved from.
        """
        text, time = ("%s::text", "%s::timestamptz") if self.vendor == "postgresql" else ("%s", "%s")
        statement = (
            f"INSERT INTO {self.table}{' AS entry' if self.vendor == 'postgresql' else ''} ({self.COLUMNS}) "
            f"SELECT {text}, {text}, COALESCE(old.first_seen, {time}), {time}, COALESCE({text}, old.address), "
            f"COALESCE({text}, old.user_agent) FROM (SELECT 1) AS one LEFT JOIN {self.table} AS old "
            f"ON old.user_id = {text} AND old.session_key = {text} "
        )
        if self.vendor == "mysql":
            table = self.table
            statement += (
                f"ON DUPLICATE KEY UPDATE last_seen = GREATEST({table}.last_seen, VALUES(last_seen)), "
                f"address = COALESCE(VALUES(address), {table}.address), "
                f"user_agent = COALESCE(VALUES(user_agent), {table}.user_agent)"
            )
        else:
            greatest, known = ("MAX", self.table) if self.vendor == "sqlite" else ("GREATEST", "entry")
            statement += (
                f"WHERE true ON CONFLICT (user_id, session_key) DO UPDATE SET "
                f"last_seen = {greatest}({known}.last_seen, excluded.last_seen), "
                f"address = COALESCE(excluded.address, {known}.address), "
                f"user_agent = COALESCE(excluded.user_agent, {known}.user_agent)"
            )
        with self.connection.cursor() as cursor:
            cursor.execute(statement, [*self._values(entry), entry.user_id, moved_from])

    def fill(self, entries):
        """Adds missing entries, and leaves the others as they are."""
        rows = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(entries))
        is_mysql = self.vendor == "mysql"
        end = f"DUPLICATE KEY UPDATE user_id = {self.table}.user_id" if is_mysql else "CONFLICT DO NOTHING"
        values = [value for entry in entries for value in self._values(entry)]
        with self.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {self.table} ({self.COLUMNS}) VALUES {rows} ON {end}", values)

    def of_user(self, user_id):
        if "\0" in user_id:
            # PostgreSQL stores no such text.
            return []
        return self._select("WHERE user_id = %s", [user_id])

    def pages(self):
        """All entries, some hundred at a time."""
        after = ("", "")
        while True:
            condition = (
                "WHERE user_id > %s OR (user_id = %s AND session_key > %s) ORDER BY user_id, session_key LIMIT %s"
            )
            page = self._select(condition, [after[0], *after, PAGE])
            if not page:
                return
            yield page
            after = (page[-1].user_id, page[-1].session_key)

    def remove(self, entries):
        for start in range(0, len(entries), PAGE):
            some = entries[start : start + PAGE]
            places = " OR ".join(["(user_id = %s AND session_key = %s)"] * len(some))
            values = [value for entry in some for value in (entry.user_id, entry.session_key)]
            with self.connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {self.table} WHERE {places}", values)

    def _values(self, entry):
        times = [entry.first_seen, entry.last_seen]
        if self.vendor != "postgresql":
            # A column without a time zone holds UTC, whatever TIME_ZONE says.
            times = [str(time.astimezone(timezone.utc).replace(tzinfo=None)) for time in times]
        return [entry.user_id, entry.session_key, *times, entry.address, entry.user_agent]

    def _select(self, condition, values):
        columns = self.COLUMNS
        if self.vendor == "postgresql":
            # As a number: what a driver makes of a time depends on USE_TZ and the connection's time zone.
            for name in ("first_seen", "last_seen"):
                columns = columns.replace(name, f"CAST(EXTRACT(epoch FROM {name}) * 1000000 AS bigint)")
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.table} {condition}", values)
            rows = cursor.fetchall()
        return [Entry(user, key, _time(first), _time(last), *client) for user, key, first, last, *client in rows]


class RedisIndex:
    """One hash for each user, whose fields are session keys. It has no expiry."""

    # The Rust library's scripts.
    PUT = """
        local known = redis.call('HGET', KEYS[1], ARGV[1])
        if not known and ARGV[2] ~= '' then known = redis.call('HGET', KEYS[1], ARGV[2]) end
        local entry = {first_seen = ARGV[3], last_seen = ARGV[4], address = ARGV[5], user_agent = ARGV[6]}
        if known then
            local old = cjson.decode(known)
            entry.first_seen = old.first_seen
            if tonumber(old.last_seen) > tonumber(entry.last_seen) then entry.last_seen = old.last_seen end
            if entry.address == '' then entry.address = old.address end
            if entry.user_agent == '' then entry.user_agent = old.user_agent end
        end
        redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(entry))
        return 1
    """

    using = None

    def __init__(self, redis):
        self.redis = redis

    def create_table(self):
        return False

    def put(self, entry, moved_from=None):
        key, client = self._place(entry.user_id)
        times = [str(_microseconds(time)) for time in (entry.first_seen, entry.last_seen)]
        arguments = [entry.session_key, moved_from or "", *times, entry.address or "", entry.user_agent or ""]
        client.eval(self.PUT, 1, key, *arguments)

    def of_user(self, user_id):
        key, client = self._place(user_id)
        found = []
        for session_key, stored in client.hgetall(key).items():
            values = json.loads(stored)
            first, last = (_time(int(values[name])) for name in ("first_seen", "last_seen"))
            client_of_entry = [values.get(name) or None for name in ("address", "user_agent")]
            found.append(Entry(user_id, session_key.decode(), first, last, *client_of_entry))
        return found

    def remove(self, entries):
        for entry in entries:
            key, client = self._place(entry.user_id)
            client.hdel(key, entry.session_key)

    def _place(self, user_id):
        # Through the cache, because KEY_PREFIX and VERSION belong to the name.
        key = self.redis.name("cloakroom.user_sessions:" + user_id)
        return key, self.redis.client(key, True)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _microseconds(time):
    seconds = time - _EPOCH
    return (seconds.days * 86400 + seconds.seconds) * 1_000_000 + seconds.microseconds


def _time(stored):
    if isinstance(stored, int):
        return datetime.fromtimestamp(stored // 1_000_000, timezone.utc).replace(microsecond=stored % 1_000_000)
    if isinstance(stored, str):
        stored = datetime.fromisoformat(stored)
    return stored.replace(tzinfo=timezone.utc)
