"""Makes the corpora of the fuzz targets from what real Djangos wrote, tests/vectors: corpus.py FOLDER"""
import collections, datetime, decimal, hashlib, json, pathlib, pickle, sys, uuid, zoneinfo

here = pathlib.Path(__file__).parent
folder = pathlib.Path(sys.argv[1])
seen = {}


def add(target, seed):
    seed = seed.encode("utf-8", "surrogatepass") if isinstance(seed, str) else seed
    # What is larger tells no more, and makes each run slow.
    if len(seed) <= 8192:
        seen.setdefault(target, {})[hashlib.sha1(seed).hexdigest()] = seed


def cases(name):
    return json.loads((here.parent / f"tests/vectors/{name}.json").read_text())


for name in ["codec_modern", "signed_cookies", "db_rows", "file_sessions", "signing"]:
    for case in cases(name):
        signed = [case.get(field) for field in ("encoded", "session_key", "signed", "session_data")]
        for text in filter(lambda text: isinstance(text, str) and ":" in text, signed):
            add("signed_text", b"\0" + text.encode("utf-8", "surrogatepass"))
            payload, _, rest = text.partition(":")
            add("signed_text", b"\5" + f"{rest.partition(':')[0]}\n{payload}".encode("utf-8", "surrogatepass"))
            add("signed_text", b"\x0d" + f"{rest.partition(':')[0]}\n{payload}".encode("utf-8", "surrogatepass"))
for name in ["codec_modern", "codec_legacy", "signed_cookies"]:
    for case in cases(name):
        if serialized := case.get("serialized"):
            add("json", serialized)
            add("legacy_text", b"\1" + serialized.encode("utf-8", "surrogatepass"))
            add("signed_text", b"\2" + serialized.encode("utf-8", "surrogatepass"))
            add("signed_text", b"\3" + serialized.encode("utf-8", "surrogatepass"))
for case in cases("codec_legacy"):
    if isinstance(case.get("encoded"), str):
        add("legacy_text", b"\0" + case["encoded"].encode("utf-8", "surrogatepass"))
for timestamp in ["", "-", "-1", "zzzzzzzzzzzzzzz", "-zzzzzzzzzzzzzzz", "1r31eq ", "1r31gT", "z" * 60, "1r3_eq", "٣"]:
    add("signed_text", b"\x0d" + f"{timestamp}\ne30".encode())
for text in ["[1,2]", "null", "5", '{"a":[1,}', '{"a":nope}', '{"a":"\xff"}', "{" * 995, '{"a":' * 995 + "1" + "}" * 995]:
    for mode in (b"\2", b"\3"):
        add("signed_text", mode + text.encode("latin-1"))
    add("legacy_text", b"\1" + text.encode("latin-1"))
    add("json", text)
for text in [' [ 1 , -0.0 , 1e5 , 1E-07, 0.1e+3 ] ', "NaN", "-Infinity", '"\\ud83e\\udd80"', '"\\ud83e"', '{"a":1,"a":2,"\\u0061":3}',
             "123456789012345678901234567890123456789", "01", "1.", ".5", "-", '"\\x"', '"\t"', "\ufeff{}", '"é"', "[1,]", "[" * 990 + "]" * 990]:
    add("json", text)

for case in cases("middleware"):
    for request in case.get("requests", []):
        if request.get("cookie_header"):
            add("cookie_header", request["cookie_header"])
for text in ["sessionid=a; sessionid=b", 'sessionid="a\\"b\\\\\\101"; x', "a=1;;=;b ; c = 2 ; sessionid==x=", 'sessionid="\\400\\08\\', "sessionid",
             'sessionid="a\\\nb"', "\x1csessionid\x85=\xa0v\u3000", 'sessionid=" a "', "$Version=1; sessionid=x; $Path=/", 'sessionid="a;b"']:
    add("cookie_header", text)
add("cookie_header", b"sessionid=\xff\xfe\xe2\x82; \xc3\xa4=1")
add("cookie_header", 'sessionid="' + "\\" * 500 + '"')

for case in cases("cache_values"):
    stored = case.get("stored")
    if isinstance(stored, dict) and str(stored.get("value_hex", "")).startswith("80"):
        add("pickle", bytes.fromhex(stored["value_hex"]))
utc, summer = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=2), "CEST")
# An octal number and a zero that is False, which Python writes nowhere and reads.
add("pickle", b"}Vk\nI010\ns.")
add("pickle", b"}Vk\nI-0\ns.")
# Where one opcode for integers ends and the next one begins.
edges = [2**bits - less for bits in (7, 8, 15, 16, 31, 63) for less in (1, 0)] + [-2**31, -2**31 - 1, -2**63]
values = [*edges, None, True, -1, 2**40, -2**70, 1.5, float("nan"), "Zürich \ud83e", b"\0\xff", bytearray(b"x"), [1, [2]], (1, (2, ())), {"k": {1: 2}},
          {1, 2}, frozenset("a"), datetime.datetime(2024, 2, 29, 1, 2, 3, 4, utc), datetime.datetime(1, 1, 1, fold=1), datetime.date.max,
          datetime.time(23, 59, 59, 1, summer), datetime.timedelta(-1, 2, 3), utc, summer, decimal.Decimal("-1.50"), uuid.UUID(int=7),
          zoneinfo.ZoneInfo("Europe/Zurich"), collections.OrderedDict(b=1, a=[2]), collections.Counter("aab"), 1 + 2j,
          collections.defaultdict(None, {"a": 1}), collections.deque([1, (2,)], 3), [{complex(1): collections.deque()}]]
for protocol in range(6):
    for value in values:
        add("pickle", pickle.dumps({"v": value}, protocol))
    shared = ["s"]
    add("pickle", pickle.dumps({"a": shared, "b": shared}, protocol))

for case in cases("expiry"):
    for stored in [case.get("session", {}).get("_session_expiry"), case.get("stored", {}).get("value")]:
        if stored is not None:
            add("expiry", json.dumps(stored))
    for field in ("modification", "expiry"):
        iso = case.get("kwargs", {}).get(field) or {}
        if "iso" in iso:
            add("expiry", iso["iso"])
            add("expiry", json.dumps(iso["iso"]))
for text in ["0", "-0.0", "1e400", "NaN", "Infinity", "[]", "{}", "[1]", "[\t]", "{ }", '""', "null", "true", "false", "9" * 30, "-9223372036854775809", "1.0000005",
             '"2024-02-30"', '"2024W09100"', '"2024W094100:00"', '"2024W09T01"', '"2024-W09-4T24:00"', '"20240229T010203,5Z"', '"2024-02-29 01:02:03.1234567+01:02:03.004"', '"0001-01-01T00:00:00+23:59"', "2023-11-14"]:
    add("expiry", text)
    add("expiry", text.strip('"'))

for url in ["memory:", "cookie:", "sqlite:db.sqlite3", "file:", "postgres://ann:s3cr3t-passw0rd@db:5432/site?sslmode=require&host=/run",
            "postgresql://ann:s3cr3t-passw0rd@[::1],b:1/site?options=-c", "mysql://ann:s3cr3t-passw0rd@db:3306/site?socket=/run/x&require_ssl=true",
            "mariadb://ann:s3cr3t-passw0rd@db", "redis://ann:s3cr3t-passw0rd@cache:6379/1?key_prefix=a&version=2&engine=cached_db&serializer=json&compressor=zlib",
            "redis://:s3cr3t-passw0rd@cache", "redis+cluster://ann:s3cr3t-passw0rd@a:1,b:2,c", "redis+sentinel://ann:s3cr3t-passw0rd@a,b:2/service/3",
            "memcached://a:11211,[::1]:11212,c?version=x", "cached_db:postgres://ann:s3cr3t-passw0rd@db/site|redis://:s3cr3t-passw0rd@cache/1"]:
    add("urls", url)
    add("settings_file", f'store = "{url}"\nsecret_key_file = "secret.txt"\nsecret_key_fallback_files = ["a", "../b"]\n')
for text in ["", "stor = 1", "cookie_age = 1209600\ncookie_name = 'x'\n", "naive_time_zone = \"Europe/Zurich\"\nsession_class = 'A.B'", "cookie_age = 1e9", "[a]\nb = 2024-01-01",
             'store = "redis://:s3cr3t-passw0rd@cache', "store = postgres://ann:s3cr3t-passw0rd@db", "a.b.c = [[{x = 1}]]", "x = " + "[" * 2000]:
    add("settings_file", text)

for target, seeds in seen.items():
    (folder / target).mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        (folder / target / name).write_bytes(seed)
    print(f"{target}: {len(seeds)} seeds")
