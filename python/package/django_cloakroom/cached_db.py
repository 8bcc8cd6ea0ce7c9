"""
The engine `django_cloakroom.cached_db`: the database decides, the cache holds copies.

Table and cache keys are those of Django's `cached_db`. Any cache will do whose `add` is atomic: no request ever puts a
copy over something that it did not see.

1. A change or a deletion replaces the copy by a marker, after the row was written and, inside of a transaction, again
   when that commits. Everybody reads the database while the marker lasts. It is None, which Django's own engine takes
   for a miss.
2. Only readers put copies there, by `cache.add`, which never replaces a marker or another copy; and whoever makes a new
   random key, which nobody else knows yet. A reader that began to read long ago puts none: a marker of meanwhile may be
   gone already. Inside of a transaction, where the row may be old
   or not committed, nothing is put there before it commits, and then from a new read.
3. A copy lives for COPY_AGE at most. So long can a session outlive its logout when the cache fails at that moment.
4. A save compares with the row, not with the copy.

Django's engine deletes the copy before the row's deletion commits: a reader in between puts it back, and the session
stays valid until it expires, for two weeks. And of two saves at once the older one may be cached last.
"""

import logging
import time

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.cached_db import KEY_PREFIX
from django.core.cache import caches
from django.db import connections, router, transaction

from . import _core, user_sessions
from .db import SessionStore as DatabaseStore

# In seconds.
COPY_AGE = 5 * 60
MARKER_AGE = 10
# After a deletion, as long as the Rust library's mark of a logout: its readers may take half of that before they fill.
ENDED_AGE = 60
# A reader that took longer puts no copy.
FILL_WITHIN = MARKER_AGE / 2

# No row's text: what is loaded from a copy has to be compared with the row itself before it is saved.
UNKNOWN_TEXT = ""

logger = logging.getLogger("django.contrib.sessions")


class SessionStore(DatabaseStore):
    """Keeps sessions in the database, and copies of those in use in a cache."""

    cache_key_prefix = KEY_PREFIX
    _cloakroom_is_creating = False

    def __init__(self, session_key=None):
        self._cache = caches[settings.SESSION_CACHE_ALIAS]
        super().__init__(session_key)

    @property
    def cache_key(self):
        return self.cache_key_prefix + self._get_or_create_session_key()

    async def acache_key(self):
        return self.cache_key

    # Reading.

    def load(self):
        start = time.monotonic()
        is_absent, data = self._cloakroom_copy()
        if data is not None:
            user_sessions.loaded(self, data)
            return data
        row = self._get_session_from_db()
        data = self._cloakroom_take(row)
        if is_absent and self._cloakroom_origin is not None:
            using = router.db_for_write(self.model)
            if connections[using].in_atomic_block:
                session_key = self.session_key
                transaction.on_commit(lambda: self._cloakroom_refill(session_key), using=using)
            else:
                self._cloakroom_add(row, data, start)
        user_sessions.loaded(self, data)
        return data

    async def aload(self):
        return await sync_to_async(self.load)()

    def exists(self, session_key):
        self._cloakroom_move()
        try:
            is_cached = bool(session_key and self._cache.get(self.cache_key_prefix + session_key))
        except Exception:
            is_cached = False
        return is_cached or super().exists(session_key)

    async def aexists(self, session_key):
        return await sync_to_async(self.exists)(session_key)

    def _cloakroom_copy(self):
        """Whether the cache has nothing for this session, and the copy if it has one."""
        missing = object()
        try:
            copy = self._cache.get(self.cache_key, missing)
        except Exception:
            # Such as for a key that memcached does not take. The database is asked.
            return False, None
        if copy is missing:
            return True, None
        if not isinstance(copy, dict) or not copy:
            # A marker; or the empty session by which the Rust library marks a logout.
            return False, None
        try:
            text = self._cloakroom_encoding.dumps(copy)
        except (TypeError, ValueError):
            return False, None
        self._cloakroom_forget()
        self._cloakroom_origin = (self.session_key, _core.Stored(UNKNOWN_TEXT, text))
        return False, copy

    # Writing.

    def create(self):
        self._cloakroom_is_creating = True
        try:
            super().create()
        finally:
            self._cloakroom_is_creating = False
        self._cloakroom_publish()

    def save(self, must_create=False):
        if not must_create and self._cloakroom_is_written():
            return
        before, stored = self.session_key, self._cloakroom_stored_key()
        super().save(must_create)
        if stored != before:
            self._cloakroom_moved(stored)
        # Otherwise `create` has just made a new session.
        elif self.session_key == before and not self._cloakroom_is_creating:
            self._cloakroom_mark(self.session_key)

    def cycle_key(self):
        before = self.session_key
        super().cycle_key()
        if before is not None and self._cloakroom_next_key is None:
            self._cloakroom_moved(before)

    def _cloakroom_moved(self, before):
        self._cloakroom_mark(before, ENDED_AGE)
        self._cloakroom_publish()

    def delete(self, session_key=None):
        session_key = self._cloakroom_stored_key() if session_key is None else session_key
        if session_key is not None:
            super().delete(session_key)
            self._cloakroom_mark(session_key, ENDED_AGE, must_succeed=True)

    def _cloakroom_publish(self):
        """Puts the first copy of a new random key there: nobody else knows that key yet."""
        try:
            self._cache.set(self.cache_key, self._session_cache, self._cloakroom_copy_age())
        except Exception:
            logger.exception("Error saving to cache (%s)", self._cache)

    def _cloakroom_mark(self, session_key, age=MARKER_AGE, must_succeed=False):
        """Sends everybody to the database for a while, from now on and from the commit on."""

        def mark():
            self._cache.set(self.cache_key_prefix + session_key, None, age)

        def mark_or_log():
            try:
                mark()
            except Exception:
                logger.exception("Error saving to cache (%s)", self._cache)

        using = router.db_for_write(self.model)
        if connections[using].in_atomic_block:
            transaction.on_commit(mark_or_log, using=using)
        # A logout whose copy stays in the cache is an error, as in Django; a save is not.
        (mark if must_succeed else mark_or_log)()

    def _cloakroom_refill(self, session_key):
        start = time.monotonic()
        session = type(self)(session_key)
        try:
            row = session._get_session_from_db()
            data = session._cloakroom_take(row)
        except Exception:
            # The request is over; the next one reads the row itself, and reports what is wrong with it.
            logger.exception("Error reading a session for the cache")
            return
        if session._cloakroom_origin is not None:
            session._cloakroom_add(row, data, start)

    def _cloakroom_add(self, row, data, start):
        if not data or time.monotonic() - start > FILL_WITHIN:
            return
        try:
            self._cache.add(self.cache_key, data, self._cloakroom_copy_age(expiry=row.expire_date))
        except Exception:
            logger.exception("Error saving to cache (%s)", self._cache)

    def _cloakroom_copy_age(self, **arguments):
        return min(self.get_expiry_age(**arguments), COPY_AGE)
