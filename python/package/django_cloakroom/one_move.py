"""
A login as one move (CLOAKROOM_LOGIN_IN_ONE_MOVE): the session moves to its new key in the statement that writes who
logged in.

Django's login() calls cycle_key() first and then puts the user into the session, which costs a statement each. Here
cycle_key() chooses the key, and what is stored moves at the next save. The receivers of `user_logged_in` still find the
session under its new key: the app's own receiver is the first one, and saves.
"""

from django.apps import apps
from django.conf import settings
from django.contrib.auth.signals import user_logged_in


def is_enabled():
    return getattr(settings, "CLOAKROOM_LOGIN_IN_ONE_MOVE", False) and apps.is_installed("django_cloakroom")


class OneMove:
    """The part of a SessionStore that moves with the next save; it comes before SignedStore."""

    # The key and the text that the login has written: saving the same again is not needed.
    _cloakroom_written = None

    def cycle_key(self):
        self._get_session()
        if not is_enabled() or self.session_key is None or not self._cloakroom_has_origin():
            super().cycle_key()
            return
        self._session_key = self._cloakroom_next_key = self._get_new_session_key()
        self.modified = True

    def save(self, must_create=False):
        if must_create or not self._cloakroom_is_written():
            super().save(must_create)

    def exists(self, session_key):
        self._cloakroom_move()
        return super().exists(session_key)

    async def aexists(self, session_key):
        if self._cloakroom_next_key is not None:
            await self._cloakroom_in_thread(self._cloakroom_move)()
        return await super().aexists(session_key)

    def _cloakroom_has_origin(self):
        return self._cloakroom_next_key is not None or super()._cloakroom_has_origin()

    def _cloakroom_forget(self):
        super()._cloakroom_forget()
        self._cloakroom_next_key = None

    def _cloakroom_move(self):
        """Makes the move that cycle_key() has promised; returns whether there was one."""
        if self._cloakroom_next_key is None:
            return False
        self.save()
        return True

    def _cloakroom_is_written(self):
        written, self._cloakroom_written = self._cloakroom_written, None
        return written is not None and written == self._cloakroom_now()

    def _cloakroom_now(self):
        return self.session_key, self._cloakroom_encoding.dumps(self._get_session())

    def _cloakroom_finish_login(self):
        if self._cloakroom_move():
            self._cloakroom_written = self._cloakroom_now()


def connect():
    """Connects the receiver that saves a login, before those of the site."""
    user_logged_in.connect(_logged_in, dispatch_uid="django_cloakroom")
    with user_logged_in.lock:
        user_logged_in.receivers.insert(0, user_logged_in.receivers.pop())


def _logged_in(sender, request=None, **kwargs):
    session = getattr(request, "session", None)
    if isinstance(session, OneMove):
        session._cloakroom_finish_login()
