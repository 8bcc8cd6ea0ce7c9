"""Turns a session's dictionary into the JSON text that the core compares key by key, and back."""

import functools
import json
import pickle

from django.conf import settings
from django.core.signing import JSONSerializer
from django.utils.encoding import force_bytes

from . import _core


@functools.lru_cache(maxsize=64)
def _codec(secrets, salt, session_class):
    return _core.Codec(secrets, salt, session_class)


def codec_of(session):
    """The core's codec with the site's secrets and the salt of this session's class."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return _codec(tuple(map(force_bytes, secrets)), session.key_salt, type(session).__qualname__)


class JsonEncoding:
    """Django's JSON serializer: the core splits its text, signs it and reads it."""

    def __init__(self, session):
        self.session = session
        self.serializer = session.serializer()
        self.codec = codec_of(session)

    def read(self, text):
        """The stored session; None if it was not signed with this site's secrets."""
        return self.codec.decode(text)

    def dumps(self, data):
        return self.serializer.dumps(data).decode("latin-1")

    def loads(self, text):
        return self.serializer.loads(text.encode("latin-1"))

    def name(self, key):
        """The core's name of a key of the dictionary: as JSON has it, where every key is a string."""
        return key if isinstance(key, str) else next(iter(self.loads(self.dumps({key: 0}))))

    def dump_value(self, key, value):
        return self.dumps({key: value})[len(self.dumps({key: 0})) - 2 : -1]

    def load_value(self, name, text):
        return name, self.loads(text)


class OwnEncoding:
    """
    A serializer or a codec of the site's own. To the core each value is an opaque text, made by that serializer, and
    the session class itself encodes and decodes the whole.
    """

    codec = None

    def __init__(self, session):
        self.session = session
        self.serializer = session.serializer()

    def read(self, text):
        return _core.Stored(text, self.dumps(self.session.decode(text)))

    def dumps(self, data):
        return json.dumps({self.name(key): self._text(key, value) for key, value in data.items()})

    def loads(self, text):
        data = {}
        for value in json.loads(text).values():
            data.update(self.serializer.loads(value.encode("latin-1")))
        return data

    def name(self, key):
        # A prefix, so that the core takes no key for one that has a meaning to it.
        return "=" + repr(key)

    def dump_value(self, key, value):
        return json.dumps(self._text(key, value))

    def load_value(self, name, text):
        ((key, value),) = self.serializer.loads(json.loads(text).encode("latin-1")).items()
        return key, value

    def _text(self, key, value):
        return self.serializer.dumps({key: value}).decode("latin-1")


class PickleEncoding(OwnEncoding):
    """For caches, which keep the dictionary itself, pickled: values are compared as pickles."""

    def __init__(self, session):
        self.session = session

    @staticmethod
    def _text(key, value):
        return pickle.dumps({key: value}, pickle.HIGHEST_PROTOCOL).decode("latin-1")

    def loads(self, text):
        data = {}
        for value in json.loads(text).values():
            data.update(_unpickled(value))
        return data

    def load_value(self, name, text):
        ((key, value),) = _unpickled(json.loads(text)).items()
        return key, value


def _unpickled(text):
    # The process has just pickled it itself, from what the cache's own client returned.
    return pickle.loads(text.encode("latin-1"))


def encoding_of(session, base):
    """The encoding of a session. `base` is the class whose `encode` and `decode` are the core's."""
    cls = type(session)
    is_own = cls.encode is not base.encode or cls.decode is not base.decode
    if is_own or session.serializer is not JSONSerializer:
        return OwnEncoding(session)
    return JsonEncoding(session)
