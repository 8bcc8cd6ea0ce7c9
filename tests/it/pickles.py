"""Writes random sessions in every pickle protocol and as JSON, and compares what comes back."""
import base64, hashlib, json, pickle, random, struct, sys, uuid, zoneinfo
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

count = int(sys.argv[1])
rng = random.Random(20240102)


def text():
    alphabet = rng.choice(["abc123_", "Zürich€\n\t\"\\/", "🦀é\0\x7f\x1a\r", "\ud83e\udd80\udfffa"])
    made = "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 3, 8, 30])))
    return made * rng.choice([1] * 20 + [10] * 4 + [2500] if rng.random() < 0.1 else [1])


def integer():
    bits = rng.choice([1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 600, 3000])
    number = rng.choice([rng.getrandbits(bits), 1 << bits, (1 << bits) - 1])
    return rng.choice([number, -number])


def real():
    return rng.choice([0.0, -0.0, 1.5, 1e16, 1e-5, float("inf"), float("-inf"), float("nan"), -float("nan"),
                       rng.uniform(-1e3, 1e3), struct.unpack("<d", rng.randbytes(8))[0]])


def zone():
    return rng.choice([None, timezone.utc, timezone(timedelta(hours=rng.randint(-23, 23), minutes=rng.randint(0, 59))),
                       timezone(timedelta(seconds=rng.randint(-86399, 86399)), "name"), zoneinfo.ZoneInfo("Europe/Berlin")])


def moment():
    return datetime(rng.randint(1, 9999), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59),
                    rng.randint(0, 59), rng.choice([0, 1, 999999]), zone(), fold=rng.randint(0, 1))


def number():
    return Decimal(rng.choice(["0", "-0", "1.50", "NaN", "sNaN12", "-Infinity", "1E+5", "1E-30", str(rng.random()),
                               str(integer())]))


def delta():
    return rng.choice([timedelta(0), timedelta.min, timedelta.max, timedelta(days=rng.randint(-9, 9), microseconds=rng.randint(0, 10**11))])


def identifier():
    made = uuid.UUID(int=rng.choice([0, 5, 2**63, 2**64 - 1, 2**127, rng.getrandbits(128)]))
    return rng.choice([made, uuid.uuid4(), uuid.UUID(int=7, is_safe=uuid.SafeUUID.safe)])


PLAIN = [lambda: None, lambda: True, lambda: False, text, integer, real]
HASHED = PLAIN + [moment, number, delta, identifier, lambda: moment().date(), lambda: moment().time().replace(fold=rng.randint(0, 1)),
                  zone, lambda: rng.randbytes(rng.choice([0, 1, 5, 300]))]


def hashed(depth=0):
    if depth < 3 and rng.random() < 0.2:
        items = [hashed(depth + 1) for _ in range(rng.randint(0, 5))]
        return rng.choice([tuple, frozenset])(item for item in items if item == item and not snan(item))
    while snan(value := rng.choice(HASHED)()):
        pass
    return value


def snan(value):
    return isinstance(value, Decimal) and value.is_snan()


def anything(plain, depth=0):
    kind = rng.random()
    size = rng.choice([0, 1, 2, 3, 4, 7]) if depth < 4 else 0
    if kind < 0.15:
        return [anything(plain, depth + 1) for _ in range(size)]
    if kind < 0.3:
        return {text() if plain or rng.random() < 0.7 else hashed(): anything(plain, depth + 1) for _ in range(size)}
    if plain:
        return rng.choice(PLAIN)()
    if kind < 0.4:
        return tuple(anything(plain, depth + 1) for _ in range(size))
    if kind < 0.45:
        return {hashed() for _ in range(size)}
    if kind < 0.48:
        return bytearray(rng.randbytes(rng.choice([0, 1, 300])))
    if kind < 0.5:
        shared = [anything(plain, depth + 2)]
        return [shared, shared, (shared,)]
    return rng.choice(HASHED)()


def digest(kind, parts):
    return kind + hashlib.md5("|".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def exact(value):
    """A text that differs when value or type differs in anything. Short, so that it does not grow with depth."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind + struct.pack("<d", value).hex()
    if isinstance(value, dict):
        return digest(kind, [part for entry in value.items() for part in map(exact, entry)])
    if isinstance(value, (list, tuple)):
        return digest(kind, map(exact, value))
    if isinstance(value, (set, frozenset)):
        return digest(kind, sorted(map(exact, value)))
    if isinstance(value, (datetime, time)):
        return kind + repr((value.isoformat(), value.fold, repr(value.tzinfo)))
    if isinstance(value, uuid.UUID):
        return kind + repr((value, value.is_safe))
    return digest(kind, [repr(value)])


def joined(value):
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def duration(value):
    sign, value = ("-", -value.days * 86400 * 10**6 - value.seconds * 10**6 - value.microseconds) if value < timedelta(0) else (
        "", value.days * 86400 * 10**6 + value.seconds * 10**6 + value.microseconds)
    seconds, microseconds = divmod(value, 10**6)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fraction = f".{microseconds:06d}" if microseconds else ""
    return f"{sign}P{days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"


def readable(value):
    """What reading the value as JSON must give."""
    if isinstance(value, str):
        return joined(value)
    if isinstance(value, dict):
        return {key_text(key): readable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [readable(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return list(value)
    if isinstance(value, (datetime, time)):
        if isinstance(value.tzinfo, zoneinfo.ZoneInfo):
            return value.replace(tzinfo=None).isoformat() + "[Europe/Berlin]"
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, timezone):
        return datetime(2024, 1, 1, tzinfo=value).isoformat()[19:]
    if isinstance(value, (Decimal, uuid.UUID, zoneinfo.ZoneInfo)):
        return str(value)
    return value


def key_text(key):
    if isinstance(key, str):
        return joined(key)
    text = json.dumps(readable(key), separators=(",", ":"))
    return joined(json.loads(text)) if text.startswith('"') else text


def unordered(value):
    """Sets come in any order, so lists are compared without; the order itself is compared by `exact`."""
    if isinstance(value, dict):
        return digest("d", sorted(exact(key) + unordered(item) for key, item in value.items()))
    if isinstance(value, list):
        return digest("l", sorted(map(unordered, value)))
    return exact(value) if value == value else "nan"


def has_set_key(value):
    if isinstance(value, dict):
        return any(isinstance(key, (tuple, frozenset)) or has_set_key(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(map(has_set_key, value))


equal = total = 0
for number_of in range(count):
    for protocol in range(7):
        session = {joined(text()): anything(protocol == 6) for _ in range(rng.randint(0, 6))}
        # One text as pickles and JSON have it: JSON joins the halves of a surrogate pair.
        data = json.dumps(session).encode() if protocol == 6 else pickle.dumps(session, protocol)
        # Loaded, because protocols before 4 do not carry everything: `fold` is lost.
        expected = json.loads(data) if protocol == 6 else pickle.loads(data)
        print("json" if protocol == 6 else "pickle", base64.b64encode(data).decode(), flush=True)
        again, as_json = (base64.b64decode(part) for part in sys.stdin.readline().split(" "))
        loaded = pickle.loads(again)
        same = exact(loaded) == exact(expected)
        # A dictionary whose keys become the same text reads as its last; a frozenset as key has no fixed order.
        reads = has_set_key(expected) or unordered(json.loads(as_json)) == unordered(readable(expected))
        if not (same and reads):
            for key, part in expected.items():
                shown, read = loaded.get(key), json.loads(as_json).get(joined(key))
                if exact(part) != exact(shown) or unordered(readable(part)) != unordered(read):
                    shown = [ascii(found)[:400] for found in (part, shown, readable(part), read)]
                    print(f"differs: protocol {protocol}, same {same}, reads {reads}: {shown}", flush=True)
            sys.exit(1)
        total += 1
        equal += same and reads
print(f"equal {equal} of {total}", flush=True)
