"""
The engine `django_cloakroom.cache`: Django's cache engine, without its lost updates and resurrected logins.

Keys and values in the cache are Django's: the session's dictionary, as the cache's own serializer writes it. A save
compares and swaps, through the client that the cache object holds: RedisCache, PyMemcacheCache, LocMemCache and
django-redis. Other caches are refused.
"""

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.cache import SessionStore as DjangoStore
from django.core.cache.backends.base import InvalidCacheKey

from . import _core, user_sessions
from .base import MAX_KEY_ATTEMPTS, MergingStore, SessionEnded
from .caches import UNKNOWN, swapping
from .encoding import PickleEncoding


class SessionStore(MergingStore, DjangoStore):
    """Keeps sessions in a cache."""

    @property
    def _cloakroom_encoding(self):
        return PickleEncoding(self)

    def load(self):
        self._cloakroom_forget()
        try:
            found = swapping(self._cache).get(self.cache_key)
        except InvalidCacheKey:
            # A key that memcached does not take: nothing is stored under it.
            found = None
        if found is None:
            self._session_key = None
            return {}
        data, version = found
        self._cloakroom_origin = (self.session_key, _core.Stored(version, self._cloakroom_encoding.dumps(data)))
        user_sessions.loaded(self, data)
        return data

    async def aload(self):
        return await sync_to_async(self.load)()

    def create(self):
        for _attempt in range(MAX_KEY_ATTEMPTS):
            self._session_key = self._get_new_session_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return
        raise RuntimeError("Unable to create a new session key. It is likely that the cache is unavailable.")

    async def acreate(self):
        await sync_to_async(self.create)()

    def save(self, must_create=False):
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        if must_create:
            self._cloakroom_add(data)
        else:
            self._cloakroom_load_origin()
            self._cloakroom_merge(data)

    def delete(self, session_key=None):
        session_key = self.session_key if session_key is None else session_key
        if session_key is not None:
            super().delete(session_key)
            user_sessions.ended(self, session_key)

    async def adelete(self, session_key=None):
        await sync_to_async(self.delete)(session_key)

    async def asave(self, must_create=False):
        await sync_to_async(self.save)(must_create)

    def cycle_key(self):
        data = self._get_session()
        if self.session_key is None:
            self.create()
            return
        self._cloakroom_load_origin()
        self._cloakroom_merge(data, new_key=True)
        self.modified = True

    async def acycle_key(self):
        await self._aget_session()
        await sync_to_async(self.cycle_key)()

    def _cloakroom_load_origin(self):
        """For a session that was cleared before it was loaded: the comparison needs what is stored."""
        if self._cloakroom_origin is not None and self._cloakroom_origin[0] == self.session_key:
            return
        found = swapping(self._cache).get(self.cache_key, write=True)
        if found is None:
            raise SessionEnded("The session was deleted before it was saved.")
        data, version = found
        self._cloakroom_origin = (self.session_key, _core.Stored(version, self._cloakroom_encoding.dumps(data)))
        self._cloakroom_cleared = True

    @classmethod
    def _cloakroom_users(cls, session_keys):
        """The user of each of these sessions that is there. Django's cache API does not tell the expiry."""
        session = cls()
        keys = {session.cache_key_prefix + session_key: session_key for session_key in session_keys}
        found = session._cache.get_many(keys)
        return {
            keys[key]: (user_sessions.user_id_in(data) if isinstance(data, dict) else user_sessions.UNKNOWN, None)
            for key, data in found.items()
            if data is not None
        }

    def _cloakroom_add(self, data):
        user_sessions.see(self, data, self.session_key)
        version = swapping(self._cache).add(self.cache_key, data, self.get_expiry_age())
        if version is None:
            raise CreateError
        self._cloakroom_saved(self.session_key, _core.Stored(version, self._cloakroom_encoding.dumps(data)))

    def _cloakroom_statements(self, data, now):
        return Calls(self, data)


class Calls:
    """The calls of one save to the cache; `_core.save` makes them."""

    def __init__(self, session, data):
        self.session = session
        self.data = data
        self.reread_any = False
        # How often another request had changed the entry.
        self.conflicts = 0

    def reread(self, session_key):
        self.reread_any = True
        found = swapping(self.session._cache).get(self._name(session_key), write=True)
        if found is None:
            return None
        data, version = found
        return version, self.session._cloakroom_encoding.dumps(data)

    def update(self, session_key, expected, json, text):
        if expected == UNKNOWN:
            return None
        data, timeout = self._merged(json)
        user_sessions.see(self.session, data, session_key)
        version = swapping(self.session._cache).swap(self._name(session_key), expected, data, timeout)
        self.conflicts += version is None
        return version

    def rotate(self, session_key, expected, new_session_key, json, text):
        if expected == UNKNOWN:
            return None
        data, timeout = self._merged(json)
        user_sessions.see(self.session, data, new_session_key, session_key)
        keys = self._name(session_key), expected, self._name(new_session_key)
        version = swapping(self.session._cache).move(*keys, data, timeout)
        if version is None:
            self.conflicts += 1
        else:
            self.session._session_key = new_session_key
        return version

    def _name(self, session_key):
        return self.session.cache_key_prefix + session_key

    def _merged(self, json):
        """The dictionary to write, and the seconds that it lives."""
        session = self.session
        if not self.reread_any:
            return self.data, session.get_expiry_age()
        merged = session._cloakroom_encoding.loads(json)
        session._session_cache = merged
        try:
            return merged, session.get_expiry_age()
        finally:
            session._session_cache = self.data
