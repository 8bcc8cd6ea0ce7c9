"""
Compare-and-swap on the caches of Django and django-redis, through the client that the cache object holds.

Django's cache API has none. A cache without it is refused: sessions would be lost in it without a word.
"""

import pickle

from django.core.exceptions import ImproperlyConfigured

# The version of an entry that a write made and the cache did not tell. It has to be read before the next comparison.
UNKNOWN = ""


def swapping(cache):
    """The compare-and-swap of a cache; ImproperlyConfigured if it has none."""
    # `caches[alias]` makes a cache object for each thread, and so does this.
    try:
        return cache.__dict__["_cloakroom_swapping"]
    except KeyError:
        pass
    for cls in type(cache).__mro__:
        kind = KINDS.get(f"{cls.__module__}.{cls.__qualname__}")
        if kind is not None:
            cache.__dict__["_cloakroom_swapping"] = found = kind(cache)
            return found
    raise ImproperlyConfigured(
        f"django_cloakroom.cache: {type(cache).__module__}.{type(cache).__qualname__} has no compare-and-swap, so "
        "requests at once would lose each other's sessions; use RedisCache, PyMemcacheCache or django_redis for "
        "SESSION_CACHE_ALIAS, or the engine django_cloakroom.cached_db, which works with any cache"
    )


class Redis:
    """Django's RedisCache. Versions are the stored bytes."""

    COMPARE_AND_SWAP = """
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
        elseif tonumber(ARGV[3]) <= 0 then redis.call('DEL', KEYS[1])
        else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
        return 1
    """
    COMPARE_AND_MOVE = """
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
        if ARGV[3] == '' then redis.call('SET', KEYS[2], ARGV[2])
        elseif tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
        redis.call('DEL', KEYS[1])
        return 1
    """

    def __init__(self, cache):
        self.cache = cache

    def client(self, key, write):
        return self.cache._cache.get_client(key, write=write)

    def dumps(self, data):
        return self.cache._cache._serializer.dumps(data)

    def loads(self, stored):
        return self.cache._cache._serializer.loads(stored)

    def name(self, key):
        return self.cache.make_and_validate_key(key)

    def get(self, key, write=False):
        """The data and its version; None if there is none. `write`: from the server that is written to."""
        key = self.name(key)
        stored = self.client(key, write).get(key)
        if stored is None or (data := self.loads(stored)) is None:
            return None
        return data, stored.decode("latin-1")

    def add(self, key, data, timeout):
        """The version of a new entry; None if there is one already."""
        key, stored = self.name(key), self.dumps(data)
        seconds = self._seconds(timeout)
        if seconds == 0:
            return UNKNOWN
        is_new = self.client(key, True).set(key, stored, nx=True, ex=seconds or None)
        return stored.decode("latin-1") if is_new else None

    def swap(self, key, expected, data, timeout):
        """The new version if the entry was in the expected one; None otherwise."""
        return self._run(self.COMPARE_AND_SWAP, [self.name(key)], expected, data, timeout)

    def move(self, key, expected, new_key, data, timeout):
        """As `swap`, to another key."""
        return self._run(self.COMPARE_AND_MOVE, [self.name(key), self.name(new_key)], expected, data, timeout)

    def _run(self, script, keys, expected, data, timeout):
        stored, seconds = self.dumps(data), self._seconds(timeout)
        client = self.client(keys[0], True)
        arguments = [expected.encode("latin-1"), stored, "" if seconds is None else seconds]
        is_done = client.eval(script, len(keys), *keys, *arguments)
        return stored.decode("latin-1") if is_done else None

    def _seconds(self, timeout):
        return None if timeout is None else max(0, int(timeout))


class DjangoRedis(Redis):
    """The cache of django-redis, with its default client."""

    def client(self, key, write):
        return self.cache.client.get_client(write=write)

    def dumps(self, data):
        return self.cache.client.encode(data)

    def loads(self, stored):
        return self.cache.client.decode(stored)

    def name(self, key):
        return self.cache.client.make_key(key)


class Memcached:
    """Django's PyMemcacheCache. Versions are memcached's `cas` numbers."""

    def __init__(self, cache):
        self.cache = cache

    def get(self, key, write=False):
        data, version = self.cache._cache.gets(self.cache.make_and_validate_key(key))
        return None if version is None or data is None else (data, version.decode("ascii"))

    def add(self, key, data, timeout):
        return UNKNOWN if self.cache.add(key, data, timeout) else None

    def swap(self, key, expected, data, timeout):
        key = self.cache.make_and_validate_key(key)
        timeout = self.cache.get_backend_timeout(timeout)
        return UNKNOWN if self.cache._cache.cas(key, data, expected.encode("ascii"), timeout) else None

    def move(self, key, expected, new_key, data, timeout):
        # Nobody knows the new key before the old one is gone, so two steps are one to everybody else.
        if not self.cache.add(new_key, data, timeout):
            return None
        name = self.cache.make_and_validate_key(key)
        is_done = False
        try:
            # An entry that expired already: memcached's `delete` cannot compare.
            is_done = self.cache._cache.cas(name, None, expected.encode("ascii"), -1)
        finally:
            if not is_done:
                self.cache.delete(new_key)
        return UNKNOWN if is_done else None


class LocalMemory:
    """Django's LocMemCache, for tests and for development: each process has one of its own."""

    def __init__(self, cache):
        self.cache = cache

    def get(self, key, write=False):
        key = self.cache.make_and_validate_key(key)
        with self.cache._lock:
            stored = None if self.cache._has_expired(key) else self.cache._cache.get(key)
        if stored is None or (data := pickle.loads(stored)) is None:
            return None
        return data, stored.decode("latin-1")

    def add(self, key, data, timeout):
        return UNKNOWN if self.cache.add(key, data, timeout) else None

    def swap(self, key, expected, data, timeout):
        return self.move(key, expected, key, data, timeout)

    def move(self, key, expected, new_key, data, timeout):
        key, new_key = map(self.cache.make_and_validate_key, (key, new_key))
        stored = pickle.dumps(data, self.cache.pickle_protocol)
        with self.cache._lock:
            if self.cache._has_expired(key) or self.cache._cache.get(key) != expected.encode("latin-1"):
                return None
            if new_key != key:
                self.cache._delete(key)
            self.cache._set(new_key, stored, timeout)
        return stored.decode("latin-1")


KINDS = {
    "django.core.cache.backends.redis.RedisCache": Redis,
    "django.core.cache.backends.memcached.PyMemcacheCache": Memcached,
    "django.core.cache.backends.locmem.LocMemCache": LocalMemory,
    "django_redis.cache.RedisCache": DjangoRedis,
}
