"""What the engines `db` and `file` share: they keep Django's signed text, and the steps of a save are the same."""

import logging

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError

from . import _core, telemetry
from .base import MAX_KEY_ATTEMPTS, MergingStore
from .encoding import encoding_of


class SignedStore(MergingStore):
    """
    The part of a SessionStore that reads and writes signed texts; it comes before Django's class.

    An engine has `_cloakroom_reload()`, which reads what is stored, `_cloakroom_insert(data)` for a new session, and
    `_cloakroom_overwrite(data)` for one whose stored content does not matter.
    """

    # The text that the core made of the dictionary that `encode` is called with next.
    _cloakroom_encoded = None
    # Whether all saves belong on one thread, as connections do.
    _cloakroom_one_thread = True

    @property
    def _cloakroom_encoding(self):
        return encoding_of(self, SignedStore)

    # Reading.

    def encode(self, session_dict):
        encoded = self._cloakroom_encoded
        if encoded is not None and encoded[0] is session_dict:
            return encoded[1]
        encoding = encoding_of(self, SignedStore)
        if encoding.codec is None:
            return super().encode(session_dict)
        return encoding.codec.encode(encoding.dumps(session_dict))

    def decode(self, session_data):
        encoding = encoding_of(self, SignedStore)
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

    def _cloakroom_read(self, text):
        """The dictionary in a stored text, or None; the next save compares with it."""
        if text is None:
            self._cloakroom_forget()
            return {}
        encoding = self._cloakroom_encoding
        try:
            stored = encoding.read(text)
        except _core.SessionUnreadable:
            telemetry.unreadable(self)
            raise
        return self._cloakroom_adopt(stored, {} if stored is None else encoding.loads(stored.json))

    def _cloakroom_adopt(self, stored, data):
        """Compares with this at the next save, or leaves it as it is if another secret signed it."""
        self._cloakroom_forget()
        if stored is None:
            _log_corrupted()
            self._cloakroom_foreign = self.session_key
        else:
            self._cloakroom_origin = (self.session_key, stored)
        return data

    # Writing.

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
        await self._cloakroom_in_thread(self.create)()

    def save(self, must_create=False):
        if self.session_key is None or self._cloakroom_is_foreign():
            return self.create()
        data = self._get_session(no_load=must_create)
        if must_create:
            self._cloakroom_insert(data)
        elif self._cloakroom_has_origin():
            self._cloakroom_merge(data, new_key=self._cloakroom_next_key is not None)
        elif self._cloakroom_is_foreign():
            # Only loading told.
            self.create()
        else:
            self._cloakroom_overwrite(data)

    async def asave(self, must_create=False):
        # Transactions are synchronous in every Django so far, and so are files.
        await self._cloakroom_in_thread(self.save)(must_create)

    def cycle_key(self):
        data = self._get_session()
        if self.session_key is None or self._cloakroom_is_foreign():
            self._session_key = None
            self.create()
            return
        if not self._cloakroom_has_origin():
            # Cleared before it was loaded: what is stored is needed for the comparison alone.
            cleared, modified = self._cloakroom_cleared, self._cloakroom_modified
            self._cloakroom_reload()
            self._cloakroom_cleared, self._cloakroom_modified = cleared, modified
            if self._cloakroom_origin is None:
                self._session_key = None
                self.create()
                return
        self._cloakroom_merge(data, new_key=True)
        self.modified = True

    async def acycle_key(self):
        await self._aget_session()
        await self._cloakroom_in_thread(self.cycle_key)()

    def _cloakroom_has_origin(self):
        return self._cloakroom_origin is not None and self._cloakroom_origin[0] == self.session_key

    def _cloakroom_in_thread(self, method):
        return sync_to_async(method, thread_sensitive=self._cloakroom_one_thread)

    @staticmethod
    def _cloakroom_text(encoding, now):
        """The text that the core makes of a dictionary's JSON; None if the session class encodes by itself."""
        return None if encoding.codec is None else encoding.codec.encode(now)


def _log_corrupted():
    logging.getLogger("django.security.SuspiciousSession").warning("Session data corrupted")
