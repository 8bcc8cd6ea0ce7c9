"""
The engine `django_cloakroom.signed_cookies`: Django's engine, whose session is the cookie itself, with `modify`.

Nothing can be merged there, because nothing is kept that could be compared with: of two responses at once the browser
keeps the later cookie, and a logout does not end copies of it. `modify` is there so that code does not depend on the
engine.
"""

from django.contrib.sessions.backends.signed_cookies import SessionStore as DjangoStore


class SessionStore(DjangoStore):
    """Keeps the session in the cookie, signed, readable by the user."""

    def modify(self, key, function):
        """Sets a key to `function(value)`, where the value is None if there is none, and returns it."""
        value = self[key] = function(self.get(key))
        return value

    async def amodify(self, key, function):
        """See modify()."""
        value = function(await self.aget(key))
        await self.aset(key, value)
        return value
