"""
The engine `django_cloakroom.db`: Django's database engine, without its lost updates and resurrected logins.

Table, rows and cookies are Django's. A save compares and swaps: it writes only if the row is still the one that was
loaded. Otherwise the row is read again, and what this request changed is done again on top of it.
"""

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.db import SessionStore as DjangoStore
from django.db import router
from django.utils import timezone

from . import _core, user_sessions
from .base import SessionEnded
from .one_move import OneMove
from .signed import SignedStore
from .statements import Statements, insert


# Rows that one statement of `clear_expired` removes: few enough that nobody waits for it.
CLEARED_AT_ONCE = 500


class SessionStore(OneMove, SignedStore, DjangoStore):
    """Keeps sessions in the database."""

    def load(self):
        data = self._cloakroom_take(self._get_session_from_db())
        user_sessions.loaded(self, data)
        return data

    async def aload(self):
        data = self._cloakroom_take(await self._aget_session_from_db())
        if self.session_key is not None and user_sessions.is_due(self, data, self.session_key):
            await sync_to_async(user_sessions.loaded)(self, data)
        else:
            self._cloakroom_user = user_sessions.user_id_in(data)
        return data

    def _cloakroom_take(self, row):
        """The row's dictionary, which is compared with at the next save."""
        return self._cloakroom_read(row.session_data if row else None)

    def _cloakroom_reload(self):
        self._cloakroom_take(self._get_session_from_db())

    # Writing.

    def delete(self, session_key=None):
        session_key = self._cloakroom_stored_key() if session_key is None else session_key
        if session_key is not None:
            self.model.objects.filter(session_key=session_key).delete()
            user_sessions.ended(self, session_key)

    async def adelete(self, session_key=None):
        await sync_to_async(self.delete)(session_key)

    def _cloakroom_insert(self, data):
        encoding = self._cloakroom_encoding
        now = encoding.dumps(data)
        row = self._cloakroom_instance(data, self._cloakroom_text(encoding, now))
        user_sessions.see(self, data, row.session_key)
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
        Removes expired sessions, some hundred in a statement. Django's engine removes all in one, and requests that
        save wait for it on a large table.
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

    # For the index of user sessions.

    @classmethod
    def _cloakroom_users(cls, session_keys):
        """The user and the expiry of each of these sessions that is there."""
        return {
            row.session_key: (cls._cloakroom_user_of(row), row.expire_date) for row in cls._live(pk__in=session_keys)
        }

    @classmethod
    def _cloakroom_pages(cls, size):
        """The same of all sessions, some at a time."""
        after = ""
        while rows := list(cls._live(pk__gt=after).order_by("pk")[:size]):
            yield {row.session_key: (cls._cloakroom_user_of(row), row.expire_date) for row in rows}
            after = rows[-1].pk

    @classmethod
    def _live(cls, **conditions):
        model = cls.get_model_class()
        return model.objects.using(router.db_for_write(model)).filter(expire_date__gt=timezone.now(), **conditions)

    @classmethod
    def _cloakroom_user_of(cls, row):
        session = cls(row.session_key)
        encoding = session._cloakroom_encoding
        try:
            stored = encoding.read(row.session_data)
            if stored is None:
                return user_sessions.FOREIGN
            data = encoding.loads(stored.json)
        except Exception:
            return user_sessions.UNKNOWN
        # A codec of the site's own answers with an empty session to what another secret signed.
        return user_sessions.user_id_in(data) if data or encoding.codec is not None else user_sessions.FOREIGN

    def _cloakroom_statements(self, data, now):
        return Statements(self, data, now)

    def _cloakroom_instance(self, data, text):
        """`create_model_instance`, which may be a subclass's, with the text that the core made."""
        self._cloakroom_encoded = None if text is None else (data, text)
        try:
            return self.create_model_instance(data)
        finally:
            self._cloakroom_encoded = None
