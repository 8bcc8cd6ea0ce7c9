"""
The engine `django_cloakroom.db`: Django's database engine, without its lost updates and resurrected logins.

Table, rows and cookies are Django's. A save compares and swaps: it writes only if the row is still the one that was
loaded. Otherwise the row is read again, and what this request changed is done again on top of it.
"""

import logging

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import router
from django.utils.crypto import get_random_string

from . import _core, messages
from .encoding import encoding_of
from .statements import Statements, insert

# The number of random keys to try. One of 165 bits is never taken, unless the generator is broken.
MAX_KEY_ATTEMPTS = 8


class SessionEnded(UpdateError, SessionInterrupted):
    """
    The session was deleted before it was saved, such as by a logout in another request. It is not written again.

    Django's UpdateError for the middleware, and a BadRequest where a view saves: 400, as in the middleware.
    """


class SessionStore(DjangoStore):
    """Keeps sessions in the database."""

    # What was loaded: the key, and the core's `Stored`. None before that, and for a new session.
    _cloakroom_origin = None
    # The key of a row that another secret signed. It stays as it is; this session gets a key of its own.
    _cloakroom_foreign = None
    _cloakroom_cleared = False
    # The text that the core made of the dictionary that `encode` is called with next.
    _cloakroom_encoded = None

    def __init__(self, session_key=None):
        super().__init__(session_key)
        self._cloakroom_modified = {}

    @property
    def _cloakroom_encoding(self):
        return encoding_of(self, SessionStore)

    # Reading.

    def encode(self, session_dict):
        encoded = self._cloakroom_encoded
        if encoded is not None and encoded[0] is session_dict:
            return encoded[1]
        encoding = encoding_of(self, SessionStore)
        if encoding.codec is None:
            return super().encode(session_dict)
        return encoding.codec.encode(encoding.dumps(session_dict))

    def decode(self, session_data):
        encoding = encoding_of(self, SessionStore)
        if encoding.codec is None:
            return super().decode(session_data)
        try:
            stored = encoding.read(session_data)
        except _core.SessionUnreadable:
            # As Django: this method never fails. `load` does.
            return {}
        if stored is None:
            _log_corrupted()
            return {}
        return encoding.loads(stored.json)

    def load(self):
        return self._cloakroom_take(self._get_session_from_db())

    async def aload(self):
        return self._cloakroom_take(await self._aget_session_from_db())

    def _cloakroom_take(self, row):
        """The row's dictionary, which is compared with at the next save."""
        self._cloakroom_forget()
        if not row:
            return {}
        encoding = self._cloakroom_encoding
        stored = encoding.read(row.session_data)
        if stored is None:
            _log_corrupted()
            self._cloakroom_foreign = self.session_key
            return {}
        self._cloakroom_origin = (self.session_key, stored)
        return encoding.loads(stored.json)

    def _cloakroom_forget(self):
        self._cloakroom_origin = self._cloakroom_foreign = None
        self._cloakroom_cleared = False
        self._cloakroom_modified = {}

    # Changing.

    def clear(self):
        super().clear()
        self._cloakroom_cleared = True
        self._cloakroom_modified = {}

    def modify(self, key, function):
        """
        Sets a key to `function(value)`, where the value is None if there is none, and returns it.

        If another request changed the session meanwhile, saving calls the function again with that request's value: no
        increment is lost. So it may run more than once, and should depend on its argument alone.
        """
        return self._cloakroom_modify(self._get_session(), key, function)

    async def amodify(self, key, function):
        """See modify()."""
        return self._cloakroom_modify(await self._aget_session(), key, function)

    def _cloakroom_modify(self, data, key, function):
        encoding = self._cloakroom_encoding
        name = encoding.name(key)
        before = encoding.dump_value(key, data[key]) if key in data else None
        earlier = self._cloakroom_modified.get(name)
        if earlier is not None and earlier[1] == before:
            functions = earlier[0] + [function]
        elif not self._cloakroom_cleared and self._cloakroom_stored_value(name) == before:
            functions = [function]
        else:
            # Set by this request before, whatever others do.
            functions = None
        value = data[key] = function(data.get(key))
        self.modified = True
        if functions is None:
            self._cloakroom_modified.pop(name, None)
        else:
            self._cloakroom_modified[name] = (functions, encoding.dump_value(key, value))
        return value

    def _cloakroom_stored_value(self, name):
        return None if self._cloakroom_origin is None else self._cloakroom_origin[1].value(name)

    # Writing.

    def _get_new_session_key(self):
        # Whether it is taken, the INSERT tells.
        return get_random_string(32, VALID_KEY_CHARS)

    async def _aget_new_session_key(self):
        return self._get_new_session_key()

    def create(self):
        for _attempt in range(MAX_KEY_ATTEMPTS):
            self._session_key = self._get_new_session_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return
        raise CreateError

    async def acreate(self):
        await sync_to_async(self.create)()

    def save(self, must_create=False):
        if self.session_key is None or self._cloakroom_is_foreign():
            return self.create()
        data = self._get_session(no_load=must_create)
        if must_create:
            self._cloakroom_insert(data)
        elif self._cloakroom_origin is not None and self._cloakroom_origin[0] == self.session_key:
            self._cloakroom_merge(data)
        elif self._cloakroom_is_foreign():
            # Only loading told.
            self.create()
        else:
            self._cloakroom_overwrite(data)

    async def asave(self, must_create=False):
        # Transactions are synchronous in every Django so far.
        await sync_to_async(self.save)(must_create)

    def cycle_key(self):
        data = self._get_session()
        if self.session_key is None or self._cloakroom_is_foreign():
            self._session_key = None
            self.create()
            return
        if self._cloakroom_origin is None or self._cloakroom_origin[0] != self.session_key:
            # Cleared before it was loaded: what is stored is needed for the comparison alone.
            cleared, modified = self._cloakroom_cleared, self._cloakroom_modified
            self._cloakroom_take(self._get_session_from_db())
            self._cloakroom_cleared, self._cloakroom_modified = cleared, modified
            if self._cloakroom_origin is None:
                self._session_key = None
                self.create()
                return
        self._cloakroom_merge(data, new_key=True)
        self.modified = True

    async def acycle_key(self):
        await self._aget_session()
        await sync_to_async(self.cycle_key)()

    def delete(self, session_key=None):
        session_key = self.session_key if session_key is None else session_key
        if session_key is not None:
            self.model.objects.filter(session_key=session_key).delete()

    async def adelete(self, session_key=None):
        await sync_to_async(self.delete)(session_key)

    def flush(self):
        super().flush()
        self._cloakroom_forget()

    async def aflush(self):
        await sync_to_async(self.flush)()

    def _cloakroom_is_foreign(self):
        return self._cloakroom_foreign is not None and self._cloakroom_foreign == self.session_key

    def _cloakroom_insert(self, data):
        encoding = self._cloakroom_encoding
        now = encoding.dumps(data)
        row = self._cloakroom_instance(data, self._cloakroom_text(encoding, now))
        if not insert(row, router.db_for_write(self.model, instance=row)):
            raise CreateError
        self._cloakroom_saved(row.session_key, _core.Stored(row.session_data, now))

    def _cloakroom_overwrite(self, data):
        """Writes a dictionary that replaces whatever is stored: it was cleared, or set, before anything was loaded."""
        encoding = self._cloakroom_encoding
        now = encoding.dumps(data)
        written = Statements(self, data, now).overwrite(self.session_key, self._cloakroom_text(encoding, now))
        if written is None:
            raise SessionEnded("The session was deleted before it was saved.")
        self._cloakroom_saved(self.session_key, _core.Stored(written, now))

    def _cloakroom_merge(self, data, new_key=False):
        encoding = self._cloakroom_encoding
        session_key, stored = self._cloakroom_origin
        now = encoding.dumps(data)
        try:
            session_key, stored, differences = _core.save(
                Statements(self, data, now),
                session_key,
                stored,
                now,
                canonical=lambda: encoding.dumps(encoding.loads(stored.json)),
                merges=self._cloakroom_merges(encoding, data, stored),
                codec=encoding.codec,
                cleared=self._cloakroom_cleared,
                new_key=new_key,
                aware=settings.USE_TZ,
            )
        except _core.SessionGone as error:
            raise SessionEnded(
                "The session was deleted before it was saved. The user may have logged out in a concurrent request."
            ) from error
        # Only where others changed something: code may hold references to the other values.
        for name, value in differences:
            if value is None:
                for key in [key for key in data if encoding.name(key) == name]:
                    del data[key]
            else:
                key, value = encoding.load_value(name, value)
                data[key] = value
        self._cloakroom_saved(session_key, stored)

    def _cloakroom_merges(self, encoding, data, stored):
        """A function for each key whose value is computed again on top of another request's."""
        if self._cloakroom_cleared:
            # This request's dictionary replaces everything.
            return {}
        merges = {}
        for name, (functions, after) in self._cloakroom_modified.items():
            for key in data:
                if encoding.name(key) == name and encoding.dump_value(key, data[key]) == after:
                    merges[name] = _replay(encoding, key, name, functions)
        if encoding.codec is not None:
            before = stored.value(messages.KEY)
            after = encoding.dump_value(messages.KEY, data[messages.KEY]) if messages.KEY in data else None
            merges.setdefault(messages.KEY, lambda current: messages.merge(before, after, current))
        return merges

    def _cloakroom_instance(self, data, text):
        """`create_model_instance`, which may be a subclass's, with the text that the core made."""
        self._cloakroom_encoded = None if text is None else (data, text)
        try:
            return self.create_model_instance(data)
        finally:
            self._cloakroom_encoded = None

    @staticmethod
    def _cloakroom_text(encoding, now):
        return None if encoding.codec is None else encoding.codec.encode(now)

    def _cloakroom_saved(self, session_key, stored):
        self._cloakroom_forget()
        self._cloakroom_origin = (session_key, stored)


def _replay(encoding, key, name, functions):
    def replay(current):
        value = None if current is None else encoding.load_value(name, current)[1]
        for function in functions:
            value = function(value)
        return encoding.dump_value(key, value)

    return replay


def _log_corrupted():
    logging.getLogger("django.security.SuspiciousSession").warning("Session data corrupted")
