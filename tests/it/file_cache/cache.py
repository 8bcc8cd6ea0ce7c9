"""Real Django on a FileBasedCache: does what the lines on stdin say, and answers each with one line."""

import json
import os
import sys
import time

from django.conf import settings

settings.configure(
    SECRET_KEY="secret",
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": sys.argv[1],
            "OPTIONS": json.loads(sys.argv[2]),
        }
    },
    USE_TZ=True,
)

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache  # noqa: E402


def answer(command, *arguments):
    if command == "load":
        session = SessionStore(arguments[0])
        return {"data": session.load(), "key": session.session_key}
    if command == "create":
        session = SessionStore()
        session.update(arguments[0])
        session.create()
        return session.session_key
    if command == "save":
        session = SessionStore(arguments[0])
        session[arguments[1]] = arguments[2]
        session.save()
        return "saved"
    if command == "save_often":
        until, number = time.monotonic() + arguments[1], 0
        while time.monotonic() < until:
            number += 1
            session = SessionStore(arguments[0])
            session["number"] = number
            session.save()
        return number
    if command == "exists":
        return SessionStore().exists(arguments[0])
    if command == "delete":
        SessionStore().delete(arguments[0])
        return "deleted"
    if command == "touch":
        return cache.touch(SessionStore.cache_key_prefix + arguments[0], arguments[1])
    if command == "set":
        cache.set(*arguments)
        return "set"
    if command == "set_noise":
        cache.set(arguments[0], os.urandom(50_000).hex(), arguments[1])
        return "set"
    if command == "files":
        return sorted(path.rsplit("/", 1)[1] for path in cache._list_cache_files())


for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
