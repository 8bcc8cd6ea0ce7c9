"""Answers the fuzz targets: what Django and Python themselves make of the same bytes.

A question is its kind, the number of its parts, and each part with its length before it. So is the answer, but that
all lengths come first.
"""
import base64, collections, datetime, decimal, hmac, hashlib, io, json, pickle, resource, struct, sys, uuid, zoneinfo

import django
from django.conf import settings
from django.core import signing
from django.http.cookie import parse_cookie

NOW = 1_700_000_000
SECRET = "django-insecure-shared-0123456789abcdefghijklmnopqrstuvwxyz!@#"
settings.configure(SECRET_KEY=SECRET, USE_TZ=True)
django.setup()
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.serializers import JSONSerializer

signing.time.time = lambda: float(NOW)
# Python's memo is as long as the largest number in it: what then fails is told as any other error.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def text(part):
    return part.decode("utf-8", "surrogatepass")


def dump(value):
    return json.dumps(value, separators=(",", ":")).encode()


def cookies(header):
    """As Django takes the header from WSGI, but for names of which Django strips more than spaces and tabs.

    A declared difference: the library takes such a name for another one, as browsers do.
    """
    pairs = header.decode("utf-8", "replace").split(";")
    names = ((pair, pair.partition("=")[0]) for pair in pairs)
    found = parse_cookie(";".join(pair for pair, name in names if name.strip() == name.strip(" \t")))
    return [part.encode() for entry in found.items() for part in entry]


def outcome(make):
    try:
        return b"=" + make()
    except Exception as error:
        return b"!" + type(error).__name__.encode()


def modern(signed, salt, max_age):
    max_age = float(max_age) if max_age else None
    return outcome(lambda: dump(signing.loads(text(signed), salt=text(salt), serializer=JSONSerializer, max_age=max_age)))


def legacy(encoded):
    """The algorithm of Django before 3.1."""
    def read():
        digest, serialized = base64.b64decode(text(encoded).encode("ascii")).split(b":", 1)
        key = hashlib.sha1(b"django.contrib.sessionsSessionStore" + SECRET.encode()).digest()
        if not hmac.compare_digest(digest.decode().encode(), hmac.new(key, serialized, hashlib.sha1).hexdigest().encode()):
            raise signing.BadSignature
        return dump(JSONSerializer().loads(serialized))
    return outcome(read)


ALLOWED = {
    ("builtins", "set"): set, ("builtins", "frozenset"): frozenset, ("builtins", "bytes"): bytes,
    ("builtins", "bytearray"): bytearray, ("builtins", "object"): object, ("builtins", "getattr"): getattr,
    ("copyreg", "_reconstructor"): __import__("copyreg")._reconstructor,
    ("_codecs", "encode"): __import__("_codecs").encode, ("datetime", "datetime"): datetime.datetime,
    ("datetime", "date"): datetime.date, ("datetime", "time"): datetime.time,
    ("datetime", "timedelta"): datetime.timedelta, ("datetime", "timezone"): datetime.timezone,
    ("decimal", "Decimal"): decimal.Decimal, ("uuid", "UUID"): uuid.UUID, ("zoneinfo", "ZoneInfo"): zoneinfo.ZoneInfo,
    ("zoneinfo", "ZoneInfo._unpickle"): zoneinfo.ZoneInfo._unpickle, ("builtins", "complex"): complex,
    ("collections", "OrderedDict"): collections.OrderedDict, ("collections", "Counter"): collections.Counter,
    ("collections", "defaultdict"): collections.defaultdict, ("collections", "deque"): collections.deque,
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return ALLOWED[module, name]


def digest(kind, parts):
    return kind + hashlib.md5("|".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def exact(value):
    """A text that differs when value or type differs in anything."""
    kind = type(value).__name__
    if isinstance(value, float):
        # Of a NaN that was written as JSON the sign and the payload are lost.
        return kind + ("nan" if value != value else struct.pack("<d", value).hex())
    if isinstance(value, dict):
        return digest(kind, [part for entry in value.items() for part in map(exact, entry)])
    if isinstance(value, (list, tuple)):
        return digest(kind, map(exact, value))
    if isinstance(value, (set, frozenset)):
        return digest(kind, sorted(map(exact, value)))
    if isinstance(value, (datetime.datetime, datetime.time)):
        return kind + repr((value.isoformat(), value.fold, repr(value.tzinfo)))
    if isinstance(value, uuid.UUID):
        return kind + repr((value, value.is_safe))
    if isinstance(value, int):
        return kind + hex(value)
    return digest(kind, [repr(value)])


def unpickle(pickle):
    # Django reads all of it at once, and so passes over wrong frames; reading piece by piece heeds them.
    whole = io.BufferedReader(io.BytesIO(pickle), len(pickle) + 1)
    return Unpickler(whole).load()


def pickles(*parts):
    return [outcome(lambda: exact(unpickle(part)).encode()) for part in parts]


MODIFICATION = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)


def expiry(stored):
    """Age, date and whether the cookie ends with the browser, for what is stored."""
    session = SessionBase()
    try:
        session._session_cache = {"_session_expiry": json.loads(text(stored))}
    except Exception:
        return []

    def age():
        found = session.get_expiry_age(modification=MODIFICATION)
        if not isinstance(found, (int, float)):
            raise TypeError
        return repr(float(found)).encode()

    date = lambda: session.get_expiry_date(modification=MODIFICATION).isoformat().encode()
    return [outcome(age), outcome(date), b"01"[session.get_expire_at_browser_close():][:1]]


def moment(stored):
    return outcome(lambda: datetime.datetime.fromisoformat(text(stored)).isoformat().encode())


KINDS = {
    b"c": cookies,
    b"m": lambda *parts: [modern(*parts)],
    b"l": lambda part: [legacy(part)],
    b"j": lambda *parts: [outcome(lambda: dump(json.loads(text(part)))) for part in parts],
    b"p": pickles,
    b"x": expiry,
    b"i": lambda part: [moment(part)],
}

read, write = sys.stdin.buffer.read, sys.stdout.buffer
while kind := read(1):
    parts = [read(int.from_bytes(read(4), "little")) for _ in range(read(1)[0])]
    answer = KINDS[kind](*parts)
    write.write(struct.pack(f"<{len(answer) + 1}I", len(answer), *map(len, answer)) + b"".join(answer))
    write.flush()
