"""What all engines share: what a request changed, and how that is merged into what another request saved."""

from functools import partial

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from . import _core, messages, telemetry, user_sessions
from .messages import ABSENT

# The number of random keys to try. One of 165 bits is never taken, unless the generator is broken.
MAX_KEY_ATTEMPTS = 8


class SessionEnded(UpdateError, SessionInterrupted):
    """
    The session was deleted before it was saved, such as by a logout in another request. It is not written again.

    Django's UpdateError for the middleware, and a BadRequest where a view saves: 400, as in the middleware.
    """


class MergingStore:
    """
    The part of a SessionStore that merges; it comes before Django's class.

    An engine has `_cloakroom_encoding`, and `_cloakroom_statements(data, now)` for the core.
    """

    # What was loaded: the key, and the core's `Stored`. None before that, and for a new session.
    _cloakroom_origin = None
    # The key of a row that another secret signed. It stays as it is; this session gets a key of its own.
    _cloakroom_foreign = None
    _cloakroom_cleared = False
    # The key that what is stored moves to at the next save: see OneMove.
    _cloakroom_next_key = None
    # For the index of user sessions: who is logged in in the stored session, and the request's address and browser.
    _cloakroom_user = None
    _cloakroom_client = (None, None)

    def __init__(self, session_key=None):
        super().__init__(session_key)
        self._cloakroom_modified = {}

    def set_client(self, address=None, user_agent=None):
        """Sets where the request comes from, for the index of user sessions. ClientMiddleware does it."""
        self._cloakroom_client = user_sessions.client(address, user_agent)

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

    def _get_new_session_key(self):
        # Whether it is taken, the INSERT tells.
        return get_random_string(32, VALID_KEY_CHARS)

    async def _aget_new_session_key(self):
        return self._get_new_session_key()

    def flush(self):
        super().flush()
        self._cloakroom_forget()

    async def aflush(self):
        await sync_to_async(self.flush)()

    def _cloakroom_stored_key(self):
        return self.session_key if self._cloakroom_next_key is None else self._cloakroom_origin[0]

    def _cloakroom_is_foreign(self):
        return self._cloakroom_foreign is not None and self._cloakroom_foreign == self.session_key

    def _cloakroom_forget(self):
        self._cloakroom_origin = self._cloakroom_foreign = None
        self._cloakroom_cleared = False
        self._cloakroom_modified = {}

    def _cloakroom_merge(self, data, new_key=False):
        encoding = self._cloakroom_encoding
        session_key, stored = self._cloakroom_origin
        now = encoding.dumps(data)
        statements = self._cloakroom_statements(data, now)
        try:
            _, stored, differences = _core.save(
                statements,
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
            telemetry.interrupted(self)
            raise SessionEnded(
                "The session was deleted before it was saved. The user may have logged out in a concurrent request."
            ) from error
        except _core.SessionUnreadable:
            telemetry.unreadable(self)
            raise
        except TimeoutError:
            telemetry.refused(self, statements.conflicts)
            raise
        if statements.conflicts:
            telemetry.merged(self, statements.conflicts)
        # Only where others changed something: code may hold references to the other values.
        for name, value in differences:
            if value is None:
                for key in [key for key in data if encoding.name(key) == name]:
                    del data[key]
            else:
                key, value = encoding.load_value(name, value)
                data[key] = value
        # The statements have set the key, if it is a new one.
        self._cloakroom_saved(self.session_key, stored)

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
        name, before, after = encoding.name(messages.KEY), None, data.get(messages.KEY)
        if (text := stored.value(name)) is not None:
            before = encoding.load_value(name, text)[1]
        merges.setdefault(name, _replay(encoding, messages.KEY, name, [partial(messages.merge, before, after)]))
        return merges

    def _cloakroom_saved(self, session_key, stored):
        self._cloakroom_forget()
        self._cloakroom_origin = (session_key, stored)
        self._cloakroom_user = user_sessions.user_id_in(getattr(self, "_session_cache", {}))


def _replay(encoding, key, name, functions):
    def replay(current):
        value = None if current is None else encoding.load_value(name, current)[1]
        for function in functions:
            value = function(value)
        return None if value is ABSENT else encoding.dump_value(key, value)

    return replay
