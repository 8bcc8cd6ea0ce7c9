"""
The engine `django_cloakroom.db`: Django's database engine, without its lost updates and resurrected logins.

Table, rows and cookies are Django's. A save compares and swaps: it writes only if the row is still the one that was
loaded. Otherwise the row is read again, and what this request changed is done again on top of it.
"""

import logging

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.db import router
from django.utils import timezone

from . import _core
from .base import MAX_KEY_ATTEMPTS, MergingStore, SessionEnded
from .encoding import encoding_of
from .statements import Statements, insert


# Rows that one statement of `clear_expired` removes: few enough that nobody waits for it.
CLEARED_AT_ONCE = 500


class SessionStore(MergingStore, DjangoStore):
    """Keeps sessions in the database."""

    # The text that the core made of the dictionary that `encode` is called with next.
    _cloakroom_encoded = None

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

    @classmethod
    def clear_expired(cls):
        """
        Removes expired sessions, some hundred in a statement. Django's engine removes all in one, and requests that save
        wait for it on a large table.
        """
        model = cls.get_model_class()
        expired = model.objects.using(router.db_for_write(model)).filter(expire_date__lt=timezone.now())
        while keys := list(expired.values_list("pk", flat=True)[:CLEARED_AT_ONCE]):
            # With the condition once more: a session that was prolonged meanwhile stays. A transaction that still sees
            # rows that others removed ends here.
            if not expired.filter(pk__in=keys).delete()[0]:
                return

    @classmethod
    async def aclear_expired(cls):
        await sync_to_async(cls.clear_expired)()

    def _cloakroom_statements(self, data, now):
        return Statements(self, data, now)

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

def _log_corrupted():
    logging.getLogger("django.security.SuspiciousSession").warning("Session data corrupted")
