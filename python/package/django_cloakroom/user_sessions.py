"""
Where a user is logged in, and how to log out everywhere. In settings: CLOAKROOM_USER_SESSIONS = True.

    from django_cloakroom import user_sessions

    user_sessions.list_sessions(user.pk)                     # the last seen first
    user_sessions.revoke(user.pk, id)                        # one of them, by its public id
    user_sessions.revoke_others(user.pk, request.session)    # all but this one
    user_sessions.revoke_all(user.pk)

The rules are those of the Rust library's index, and so is the list itself:

1. The sessions decide. A listing looks each entry's session up, and shows those in which this user is logged in.
2. An entry is written before its session. A login whose entry cannot be written fails.
3. An entry is removed only when its session is known to be gone, and not in the minute after it was written.
4. A loaded session is noted too, so that logins from before are in the list after their next request.
5. A process notes a session once in 5 minutes. Other requests cost nothing.
"""

import contextlib
import hashlib
import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib import import_module

from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone as django_timezone

from .user_session_index import MAX_ADDRESS, MAX_USER_AGENT, MAX_USER_ID, PAGE, Entry, client_text, index_of

USER_ID_KEY = "_auth_user_id"
# How long a process does not write the entry of a session again: the precision of "last seen". In seconds.
INTERVAL = 5 * 60
# How long after it was written an entry stays without a session. Longer than any save takes.
GRACE = timedelta(minutes=1)
# The limit for a user who keeps moving sessions or logging in while being logged out.
MAX_PASSES = 100
# Sessions that a process remembers; beyond it, entries may be written once more than necessary.
REMEMBERED = 100_000

# A session whose user nobody can tell.
UNKNOWN = object()
# A session that another secret signed.
FOREIGN = object()

logger = logging.getLogger("django_cloakroom.user_sessions")
auth_logger = logging.getLogger("django_cloakroom.auth")


class StillLoggingIn(Exception):
    """The user logs in faster than sessions end. Set `is_active` to false first."""


@dataclass(frozen=True)
class UserSession:
    """A user's session. Show users the `id`, which opens nothing."""

    id: str
    user_id: str
    first_seen: datetime
    last_seen: datetime
    expire_date: "datetime | None"
    address: "str | None"
    user_agent: "str | None"
    is_current: bool = False
    _entry: Entry = field(repr=False, compare=False, default=None)

    @property
    def device(self):
        """The browser and the system in the User-Agent, such as "Firefox on Linux"; None if it tells neither."""
        return device(self.user_agent)


def is_enabled():
    return getattr(settings, "CLOAKROOM_USER_SESSIONS", False)


def public_id(session_key):
    """Names a session without giving access to it. The Rust library, its command and its logs use the same name."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:32]


def user_id_in(data):
    """The user who is logged in in a session's dictionary; None if nobody is, UNKNOWN if the id is none."""
    found = data.get(USER_ID_KEY)
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if isinstance(found, float) and found.is_integer() and abs(found) < 2**53:
        return str(int(found))
    if type(found).__name__ == "UUID":
        return str(found)
    return UNKNOWN


# Listing and ending.


def list_sessions(user_id, current=None):
    """This user's sessions, the last seen first. Removes entries whose session is gone."""
    return _look_up(str(user_id), _keys_of(current))[0]


def not_genuine(user_id):
    """How many of this user's entries have a session that another secret signed: neither listed nor ended here."""
    return _look_up(str(user_id))[2]


def revoke(user_id, id):
    """Ends one session of this user by its public id, whole; False if this user has none of that id."""
    found = [session for session in list_sessions(user_id) if session.id == id]
    return _end_all(found) > 0


def revoke_all(user_id):
    """Ends all sessions of this user, and returns how many. A session that moves to another key is followed."""
    return _revoke_but(str(user_id), set())


def revoke_others(user_id, current):
    """Ends all sessions of this user except `current`, such as after a change of password; returns how many."""
    return _revoke_but(str(user_id), _keys_of(current))


def _revoke_but(user_id, kept):
    """
    Repeats until no session can be left. A move writes the entry of the new key, then moves the session: so a pass may
    look too early at the new key and too late at the old. It can be missed again only if it moves again, which needs a
    further entry. So nobody is left after three passes in a row that find no session and no further entry.
    """
    revoked, quiet_passes, before = 0, 0, set()
    for _ in range(MAX_PASSES):
        live, gone, _ = _look_up(user_id)
        live = [session for session in live if session._entry.session_key not in kept]
        revoked += _end_all(live)
        if live:
            quiet_passes = 0
        elif not gone:
            return revoked
        else:
            quiet_passes = quiet_passes + 1 if gone <= before else 1
        if quiet_passes == 3:
            return revoked
        before = gone
    raise StillLoggingIn(f"user {user_id} keeps logging in while being logged out; set is_active to false first")


def _end_all(sessions):
    """Ends these sessions. The others end although one cannot, and then its error is raised."""
    ended, failed = [], None
    for session in sessions:
        try:
            _store()().delete(session._entry.session_key)
        except Exception as error:
            failed = failed or error
        else:
            ended.append(session._entry)
            user, id = session.user_id, session.id[:12]
            auth_logger.info("session revoked", extra={"session": id, "user": user})
    _forget(index_of(_store()), ended)
    if failed is not None:
        raise failed
    return len(ended)


def _look_up(user_id, current=frozenset()):
    """This user's sessions; the keys of entries without one; how many another secret signed."""
    store = _store()
    index = index_of(store)
    entries = index.of_user(user_id)
    live, gone, foreign = [], [], 0
    found = _sessions(store, [entry.session_key for entry in entries])
    for entry in entries:
        its_user, expire_date = found.get(entry.session_key, (None, None))
        if its_user is FOREIGN:
            foreign += 1
        elif its_user is UNKNOWN or its_user == user_id:
            # Where nobody can tell the session's user, the entry decides.
            live.append(_user_session(entry, expire_date, entry.session_key in current))
        else:
            gone.append(entry)
    _forget(index, [entry for entry in gone if _is_settled(entry)])
    live.sort(key=lambda session: session.last_seen, reverse=True)
    return live, {entry.session_key for entry in gone}, foreign


def _user_session(entry, expire_date, is_current):
    return UserSession(
        id=public_id(entry.session_key),
        user_id=entry.user_id,
        first_seen=_shown(entry.first_seen),
        last_seen=_shown(entry.last_seen),
        expire_date=expire_date,
        address=entry.address,
        user_agent=entry.user_agent,
        is_current=is_current,
        _entry=entry,
    )


def _shown(time):
    """As the site's other times: aware if USE_TZ says so."""
    return time if settings.USE_TZ else django_timezone.make_naive(time, django_timezone.get_default_timezone())


def _store():
    return import_module(settings.SESSION_ENGINE).SessionStore


def _sessions(store, session_keys):
    """The user and the expiry of each of these sessions that is there."""
    found = {}
    for start in range(0, len(session_keys), PAGE):
        found.update(store._cloakroom_users(session_keys[start : start + PAGE]))
    return found


def _keys_of(session):
    """Where this session is stored, and where it will be."""
    if session is None:
        return frozenset()
    origin = getattr(session, "_cloakroom_origin", None)
    return frozenset(key for key in (session.session_key, origin and origin[0]) if key)


def _is_settled(entry):
    return abs(datetime.now(timezone.utc) - entry.last_seen) >= GRACE


def _forget(index, entries):
    """Removes entries. If that fails, the next listing does it."""
    if not entries:
        return
    try:
        with _apart(index):
            index.remove(entries)
    except Exception:
        logger.warning("the entry of a session that ended stays in the index until the next listing", exc_info=True)


# All users.


def rebuild():
    """
    Notes all existing logins: goes through all sessions and adds missing entries. Returns how many sessions it read,
    how many have a user, and how many could not be read.
    """
    store = _store()
    index = index_of(store)
    read = logged_in = unread = 0
    age = timedelta(seconds=store().get_session_cookie_age())
    for page in store._cloakroom_pages(PAGE):
        now = datetime.now(timezone.utc)
        entries = []
        for session_key, (user_id, expire_date) in page.items():
            read += 1
            if user_id in (UNKNOWN, FOREIGN) or (user_id is not None and len(user_id) > MAX_USER_ID):
                unread += 1
            elif user_id is not None:
                if django_timezone.is_naive(expire_date):
                    expire_date = django_timezone.make_aware(expire_date, django_timezone.get_default_timezone())
                # The last save, where the expiry tells it.
                seen = min(now, expire_date.astimezone(timezone.utc) - age)
                entries.append(Entry(user_id, session_key, seen, seen))
        if entries:
            index.fill(entries)
            logged_in += len(entries)
    return read, logged_in, unread


def clean(dry_run=False):
    """Removes the entries whose session is gone. Returns how many it checked, and how many are gone."""
    store = _store()
    index = index_of(store)
    checked = removed = 0
    for page in index.pages():
        there = _sessions(store, [entry.session_key for entry in page])
        gone = [entry for entry in page if entry.session_key not in there and _is_settled(entry)]
        if gone and not dry_run:
            index.remove(gone)
        checked += len(page)
        removed += len(gone)
    return checked, removed


# Noting: what the engines call.


def is_due(session, data, session_key):
    """The user to note in this session; None if none is, or if this process did it lately."""
    if not is_enabled():
        return None
    user_id = user_id_in(data)
    if user_id is None or user_id is UNKNOWN or _seen.is_recent(user_id, session_key):
        return None
    return user_id


def see(session, data, session_key, moved_from=None):
    """Notes the user of a session that is written under this key next."""
    user_id = is_due(session, data, session_key)
    if user_id is None:
        return
    is_login = moved_from is not None or session._cloakroom_user != user_id
    if len(user_id) > MAX_USER_ID:
        raise ValueError(f"a user's id has more than {MAX_USER_ID} characters; no index takes it")
    now = datetime.now(timezone.utc)
    address, user_agent = session._cloakroom_client
    entry = Entry(user_id, session_key, now, now, address, user_agent)
    index = index_of(type(session))
    if is_login:
        # An error is the login's: nobody could find, or end, this session.
        index.put(entry, moved_from)
    else:
        try:
            with _apart(index):
                index.put(entry, moved_from)
        except Exception:
            logger.warning("a user's session was not noted", exc_info=True)
            return
    if index.using is None:
        _seen.note(user_id, session_key)
    else:
        # What is rolled back was not noted.
        transaction.on_commit(lambda: _seen.note(user_id, session_key), using=index.using)


def loaded(session, data):
    """Notes the user of a session that was loaded."""
    user_id = user_id_in(data)
    session._cloakroom_user = user_id
    if session.session_key is not None:
        see(session, data, session.session_key)


def ended(session, session_key):
    """Removes the entry of a session that its own request ended."""
    user_id = session._cloakroom_user
    if not is_enabled() or session_key != session.session_key or not isinstance(user_id, str):
        return
    now = datetime.now(timezone.utc)
    _forget(index_of(type(session)), [Entry(user_id, session_key, now, now)])


@contextlib.contextmanager
def _apart(index):
    """A savepoint inside of a transaction, which a failed statement would break."""
    if index.using is None or not connections[index.using].in_atomic_block:
        yield
    else:
        with transaction.atomic(using=index.using):
            yield


class Seen:
    """Remembers hashes only: neither keys nor users."""

    def __init__(self):
        self._lock = threading.Lock()
        self._noted = {}

    def is_recent(self, user_id, session_key):
        noted = self._noted.get(hash((user_id, session_key)))
        return noted is not None and time.monotonic() - noted < INTERVAL

    def note(self, user_id, session_key):
        with self._lock:
            if len(self._noted) >= REMEMBERED:
                end = time.monotonic() - INTERVAL
                self._noted = {place: noted for place, noted in self._noted.items() if noted > end}
                if len(self._noted) >= REMEMBERED:
                    self._noted = {}
            self._noted[hash((user_id, session_key))] = time.monotonic()


_seen = Seen()


def client(address, user_agent):
    return client_text(address, MAX_ADDRESS), client_text(user_agent, MAX_USER_AGENT)


# The first that fits counts: most browsers also name those that they resemble.
BROWSERS = [
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"),
]  # fmt: skip
SYSTEMS = [
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
]  # fmt: skip


def device(user_agent):
    browser, system = (
        next((name for mark, name in names if mark in (user_agent or "")), None) for names in (BROWSERS, SYSTEMS)
    )
    return f"{browser} on {system}" if browser and system else browser or system
