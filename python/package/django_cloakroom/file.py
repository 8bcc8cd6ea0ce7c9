"""
The engine `django_cloakroom.file`: Django's file engine, without its lost updates and resurrected logins.

Folder, names and texts are Django's. The files are read and replaced by the Rust library: a writer holds the lock of
the file that it replaces, compares its text, and exchanges the two files in one step. A removed file is never made
again. So processes with this engine and services with the Rust `FileStore` are safe against each other. Django's own
engine takes no lock and compares nothing: its saves overwrite and restore, as they do among themselves.
"""

import datetime
import functools

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.file import SessionStore as DjangoStore
from django.contrib.sessions.exceptions import InvalidSessionKey
from django.core.exceptions import ImproperlyConfigured

from . import _core, telemetry
from .base import SessionEnded
from .signed import SignedStore

# What Django's engine leaves for a moment on the way to a new session.
EMPTY = _core.Stored("", "{}")


class SessionStore(SignedStore, DjangoStore):
    """Keeps each session in a file of its own."""

    # Whether a save waits until it is on the disk, as the Rust library does and Django's engine does not. Without it a
    # power failure may leave an empty file after a save; a crash of the process alone never does.
    durable = True

    # There is no connection that belongs to a thread.
    _cloakroom_one_thread = False
    # The time of the file that was loaded.
    _cloakroom_modification = None

    @property
    def _cloakroom_files(self):
        return files(str(self.storage_path), self.file_prefix, self.durable)

    # Reading.

    def load(self):
        try:
            data = self._cloakroom_reload()
        except InvalidSessionKey:
            # Nothing is stored under it.
            self._cloakroom_forget()
            data = {}
        if self._cloakroom_origin is None and self._cloakroom_foreign is None:
            self._session_key = None
        return data

    def _cloakroom_reload(self):
        try:
            live = self._cloakroom_live(self.session_key)
        except _core.SessionUnreadable:
            telemetry.unreadable(self)
            raise
        if live is None:
            self._cloakroom_forget()
            return {}
        _text, stored, data = live
        return self._cloakroom_adopt(stored, data)

    def _cloakroom_live(self, session_key):
        """The text of a session that is stored and not expired, as the core's `Stored` and its dictionary; or None."""
        self._key_to_file(session_key)
        found = self._cloakroom_files.read(session_key)
        if found is None:
            return None
        text, self._cloakroom_modification = found
        text = text.decode("latin-1")
        stored, data = self._cloakroom_decoded(text)
        # It stays until `clear_expired`, as another process may be renewing it.
        return None if self._cloakroom_is_expired(data) else (text, stored, data)

    def _cloakroom_decoded(self, text):
        encoding = self._cloakroom_encoding
        stored = encoding.read(text) if text else EMPTY
        return stored, {} if stored is None else encoding.loads(stored.json)

    def _cloakroom_is_expired(self, data):
        try:
            return self.get_expiry_age(expiry=self._expiry_date(data)) <= 0
        except (OverflowError, TypeError, ValueError):
            # No date that can be read or compared: none stays without an expiry.
            return self.get_expiry_age(expiry=self._expiry_date({})) <= 0

    def _last_modification(self):
        if self._cloakroom_modification is None:
            return super()._last_modification()
        return _moment(self._cloakroom_modification)

    def _expiry_date(self, session_data):
        expiry = session_data.get("_session_expiry") or self.get_session_cookie_age()
        if isinstance(expiry, (datetime.datetime, str)):
            return expiry
        # Django's engine takes a number of seconds for a date, and never expires such a session.
        return self._last_modification() + datetime.timedelta(seconds=expiry)

    # Writing.

    def _cloakroom_insert(self, data):
        self._key_to_file()
        encoding = self._cloakroom_encoding
        now = encoding.dumps(data)
        text = self._cloakroom_own_text(data, self._cloakroom_text(encoding, now))
        if not self._cloakroom_files.add(self.session_key, text.encode("latin-1")):
            raise CreateError
        self._cloakroom_modification = None
        self._cloakroom_saved(self.session_key, _core.Stored(text, now))

    def _cloakroom_overwrite(self, data):
        """Writes a dictionary that replaces whatever is stored: it was cleared, or set, before anything was loaded."""
        self._key_to_file()
        encoding = self._cloakroom_encoding
        now = encoding.dumps(data)
        text = self._cloakroom_own_text(data, self._cloakroom_text(encoding, now))
        if not self._cloakroom_files.replace(self.session_key, None, text.encode("latin-1")):
            raise SessionEnded("The session was deleted before it was saved.")
        self._cloakroom_saved(self.session_key, _core.Stored(text, now))

    def _cloakroom_own_text(self, data, text):
        """The text that the core made; or, for a serializer or codec of the site's own, what `encode` makes."""
        return self.encode(data) if text is None else text

    def _cloakroom_statements(self, data, now):
        return Calls(self, data)

    def delete(self, session_key=None):
        session_key = self.session_key if session_key is None else session_key
        if session_key is None:
            return
        self._key_to_file(session_key)
        # An error is one: Django's engine passes over it, and the logout is none.
        self._cloakroom_files.remove(session_key)

    async def adelete(self, session_key=None):
        await self._cloakroom_in_thread(self.delete)(session_key)

    async def aflush(self):
        await self._cloakroom_in_thread(self.flush)()

    @classmethod
    def clear_expired(cls):
        """
        Removes expired sessions, and temporary files that crashed processes left an hour ago. A file that another
        process has renewed meanwhile stays, and so does one that cannot be read.
        """
        session = cls()

        def is_expired(text, modification):
            session._cloakroom_modification = modification
            return session._cloakroom_is_expired(session._cloakroom_decoded(text.decode("latin-1"))[1])

        session._cloakroom_files.clear_expired(is_expired)

    @classmethod
    async def aclear_expired(cls):
        await cls._cloakroom_in_thread(cls, cls.clear_expired)()


class Calls:
    """The calls of one save to the folder; `_core.save` makes them."""

    def __init__(self, session, data):
        self.session = session
        self.data = data
        self.conflicts = 0

    def reread(self, session_key):
        self.conflicts += 1
        live = self.session._cloakroom_live(session_key)
        if live is None:
            return None
        text, stored, _data = live
        return text, None if stored is None else stored.json

    def update(self, session_key, expected, json, text):
        text = self._text(json, text)
        done = self._files.replace(session_key, expected.encode("latin-1"), text.encode("latin-1"))
        return text if done else None

    def rotate(self, session_key, expected, new_session_key, json, text):
        text = self._text(json, text)
        names = session_key, expected.encode("latin-1"), new_session_key
        if not self._files.rotate(*names, text.encode("latin-1")):
            return None
        self.session._session_key = new_session_key
        return text

    @property
    def _files(self):
        return self.session._cloakroom_files

    def _text(self, json, text):
        if text is not None:
            return text
        session = self.session
        return session.encode(session._cloakroom_encoding.loads(json))


@functools.lru_cache(maxsize=64)
def files(path, prefix, durable):
    """The core's files of a folder, which is looked at once."""
    if not hasattr(_core, "Files"):
        raise ImproperlyConfigured(
            "django_cloakroom.file works on Linux and macOS, where two files can be exchanged in one step; use "
            "django_cloakroom.db"
        )
    try:
        return _core.Files(path, prefix, durable)
    except OSError as error:
        raise ImproperlyConfigured(f"Sessions cannot be kept in files: {error}") from error


def _moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc if settings.USE_TZ else None)
