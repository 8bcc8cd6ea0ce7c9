# Times django.contrib.sessions' own encode and decode, as SessionBase has them, on the session that it is told.
import json
import sys
import time

import django
from django.conf import settings
from django.core import signing

settings.configure(SECRET_KEY="the benchmark's SECRET_KEY")
django.setup()

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.serializers import JSONSerializer


class SessionStore(SessionBase):
    compress = True

    def encode(self, session_dict):
        return signing.dumps(session_dict, salt=self.key_salt, serializer=self.serializer, compress=self.compress)


print(django.get_version(), flush=True)
store, data, text = SessionStore(), {}, ""
assert store.serializer is JSONSerializer
for line in sys.stdin:
    command, _, rest = line.rstrip("\n").partition(" ")
    if command == "session":
        compress, _, session = rest.partition(" ")
        store.compress, data = compress == "1", json.loads(session)
        text = store.encode(data)
        assert store.decode(text) == data
        if store.compress:
            assert SessionBase.encode(store, data).split(":")[0] == text.split(":")[0]
        print("ok", flush=True)
        continue
    calls = range(int(rest))
    start = time.perf_counter_ns()
    if command == "encode":
        for _ in calls:
            store.encode(data)
    else:
        for _ in calls:
            store.decode(text)
    print((time.perf_counter_ns() - start) / len(calls), flush=True)
