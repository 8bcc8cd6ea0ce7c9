"""The engine `signed_cookies`: Django's, with `modify`."""

from django.contrib.sessions.backends.signed_cookies import SessionStore as DjangosStore
from django.test import SimpleTestCase, override_settings

from django_cloakroom.signed_cookies import SessionStore


class Cookies(SimpleTestCase):
    def test_either_engine_reads_the_others_cookie(self):
        for ours, theirs in ((SessionStore, DjangosStore), (DjangosStore, SessionStore)):
            session = ours()
            session["cart"] = [1]
            session.save()
            self.assertEqual(dict(theirs(session.session_key).items()), {"cart": [1]})

    def test_modify(self):
        session = SessionStore()
        self.assertEqual(session.modify("visits", lambda visits: (visits or 0) + 1), 1)
        session.save()
        session = SessionStore(session.session_key)
        self.assertFalse(session.modified)
        self.assertEqual(session.modify("visits", lambda visits: (visits or 0) + 1), 2)
        self.assertTrue(session.modified)

    async def test_amodify(self):
        if not hasattr(DjangosStore, "asave"):
            self.skipTest("sessions are not async before Django 5.1")
        session = SessionStore()
        await session.amodify("visits", lambda visits: (visits or 0) + 1)
        await session.asave()
        self.assertEqual(await SessionStore(session.session_key).aget("visits"), 1)

    def test_a_cookie_that_another_secret_signed(self):
        session = SessionStore()
        session["user"] = 7
        session.save()
        with override_settings(SECRET_KEY="another"):
            self.assertEqual(dict(SessionStore(session.session_key).items()), {})
