"""Real Django on a folder of session files: does what the lines on stdin say, and answers each with one line."""

import json
import sys

from django.conf import settings

settings.configure(
    SECRET_KEY="secret",
    SESSION_ENGINE="django.contrib.sessions.backends.file",
    SESSION_FILE_PATH=sys.argv[1],
    USE_TZ=True,
)

from django.contrib.sessions.backends.file import SessionStore  # noqa: E402


def answer(command, *arguments):
    if command == "load":
        session = SessionStore(arguments[0])
        data = session.load()
        return {"data": data, "key": session.session_key}
    if command == "create":
        session = SessionStore()
        session.update(arguments[0])
        session.create()
        return session.session_key
    if command == "set":
        session = SessionStore(arguments[0])
        session[arguments[1]] = arguments[2]
        session.save()
        return "saved"
    if command == "clear_expired":
        return SessionStore.clear_expired()


for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
