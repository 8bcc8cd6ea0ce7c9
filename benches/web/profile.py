"""Where the instructions of a request go: the floor's site, this library's and a peer's, under callgrind.

profile.py SITE PEERS FOLDER STORE [REQUESTS]: SITE is `bench-web-site`, PEERS `bench-web-peers`, FOLDER is for what is in
between, STORE is `redis`, with one client, `postgres`, with 16, whose requests share statements, or `memory`,
`postgres-alone` or `sqlite`, with one, beside tower-sessions. Prints a Markdown table.
"""

import concurrent.futures
import contextlib
import http.client
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from private_servers import free_port, postgres, postgres_programs, redis, until_it_listens  # noqa: E402

NEW = ("S3 new session", "/new")
ROUTES = [("S1 read", "/read"), ("S2 counter", "/count"), NEW, ("S4 login", "/login")]
UNTOUCHED = ("S0 untouched", "/untouched")

# Requests before the first that counts.
WARM_UP = 100

FLOOR, OURS, TOWER_SESSIONS = "floor", "cloakroom", "tower-sessions"
OUR_COOKIE, ACTIX_SESSION = "cloakroom-cookie", "actix-session"
LABELS = {
    FLOOR: "floor",
    OURS: "ours",
    TOWER_SESSIONS: "tower-sessions",
    OUR_COOKIE: "ours on actix-web, in the cookie",
    ACTIX_SESSION: "actix-session, in the cookie",
}
PEERS = [TOWER_SESSIONS, ACTIX_SESSION]

# A processor's first caches, simulated: 32 kB for code and 32 kB for data, in lines of 64 bytes.
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"]

# To whom an instruction belongs: the first whose pattern is in the name of the function it stands in. Inlined code counts
# for the function that it is inlined into.
OWNERS = [
    ("allocating", r"malloc|^free|calloc|_int_free|unlink_chunk|__rust|__rdl|__rustc|\bfree \["),
    ("copying and comparing bytes", r"memcpy|memmove|memset|memcmp|bcmp|memchr_avx|strlen"),
    ("pickle", r"cloakroom_formats::pickle"),
    ("the rest of cloakroom", r"cloakroom(_formats)?::"),
    ("the handlers", r"bench_web_"),
    ("tower-sessions", r"tower_sessions|tower_cookies|(^|[< ])(cookie|time|rand)::"),
    ("serde", r"serde_json|serde_core"),
    ("SHA-256, without the processor's help", r"sha2::"),
    ("redis and its parser", r"redis::|combine::"),
    ("PostgreSQL's driver and pool", r"postgres|deadpool"),
    ("axum and tower", r"axum|tower"),
    ("hyper, http, httparse", r"hyper|httparse|http::|bytes::"),
    ("tokio, mio", r"tokio|mio::"),
]


class Site:
    """A site, usually under callgrind, and its clients."""

    def __init__(self, program, contender, store, folder, callgrind=True):
        self.port = free_port()
        self.out = folder / f"{contender}.out"
        command = [program, contender, str(self.port), store]
        if callgrind:
            options = ["--instr-atstart=no", *CACHES, f"--callgrind-out-file={self.out}"]
            command = ["valgrind", "--tool=callgrind", *options, *command]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_it_listens(self.port)

    def client(self, path):
        """Asks for the path so many times, always with the same session."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)

        def get(path, cookie=None):
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            response = connection.getresponse()
            response.read()
            assert response.status == 200, f"{path}: {response.status}"
            return response.getheader("Set-Cookie", "").split(";")[0]

        # A login moves the session to a new key each time, which the next one then uses.
        cookie = get("/seed") if path in ["/read", "/count", "/login"] else None
        # A key that no store is asked for.
        cookie = "sessionid=" + "a" * 32 if path == "/untouched" else cookie

        def ask(times):
            nonlocal cookie
            for _ in range(times):
                answer = get(path, cookie)
                cookie = answer if path == "/login" else cookie

        return ask

    def control(self, *options):
        subprocess.run(["callgrind_control", *options, str(self.process.pid)], check=True, capture_output=True)

    def instructions(self, path, clients, requests):
        """For one request: of each owner, and the lines of code and of data that the first caches did not hold."""
        clients = [self.client(path) for _ in range(clients)]
        clients[0](WARM_UP)
        self.control("--instr=on")
        self.control("--zero")
        times = requests // len(clients)
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as threads:
            # Asked for its results, a client that failed fails the run.
            list(threads.map(lambda client: client(times), clients))
        requests = times * len(clients)
        self.control("--instr=off")
        for old in self.out.parent.glob(self.out.name + ".*"):
            old.unlink()
        self.control("--dump")
        (dump,) = self.out.parent.glob(self.out.name + ".*")
        text = subprocess.run(
            ["callgrind_annotate", "--threshold=100", "--show=Ir", dump], check=True, capture_output=True, text=True
        ).stdout
        owners = dict.fromkeys([owner for owner, _ in OWNERS] + ["other"], 0)
        for count, function in re.findall(r"^ *([\d,]+) \([ \d.]+%\)  \S*?:(.*)$", text, re.MULTILINE):
            owner = next((owner for owner, pattern in OWNERS if re.search(pattern, function)), "other")
            owners[owner] += int(count.replace(",", "")) / requests
        events, totals = re.findall(r"^(?:events|totals): (.*)$", dump.read_text(), re.MULTILINE)
        missed = dict(zip(events.split(), map(int, totals.split())))
        return owners, missed["I1mr"] / requests, (missed["D1mr"] + missed["D1mw"]) / requests

    def stop(self):
        self.process.kill()
        self.process.wait()


def sqlite(folder):
    return contextlib.nullcontext(f"sqlite:{folder}/db.sqlite3")


def psql(store, statements):
    return subprocess.run(["psql", store, "-Atc", statements], check=True, capture_output=True, text=True).stdout


def place_in_log(store):
    """The end of PostgreSQL's write-ahead log. The message's commit puts all of it into the log's files."""
    flushed = "SELECT pg_logical_emit_message(true, '', ''); SELECT pg_current_wal_flush_lsn()"
    return psql(store, flushed).split()[-1]


def records(folder, first, last):
    """How many records PostgreSQL has logged between these places."""
    command = [f"{postgres_programs()}/pg_waldump", "--path", folder / "postgres/pg_wal", "--start", first, "--end", last, "--stats"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"^Total +(\d+)", told, re.MULTILINE)[1])


def gain_without_indexes(site, folder, pairs=15, requests=2000):
    """How many times as many answers a second one client's counter gets when PostgreSQL's table has its primary key alone."""
    others = (
        "SELECT string_agg(quote_ident(indexname), ', ') FROM pg_indexes "
        "WHERE tablename = 'django_session' AND indexname !~ 'pkey$'"
    )
    with contextlib.ExitStack() as open_things:
        counters = []
        for name in ["all", "primary-key"]:
            own_folder = folder / f"indexes-{name}"
            own_folder.mkdir()
            store = open_things.enter_context(postgres(own_folder, fsync="on"))
            running = Site(site, OURS, store, own_folder, callgrind=False)
            open_things.callback(running.stop)
            if name == "primary-key":
                psql(store, "DROP INDEX " + psql(store, others))
            counters.append(running.client("/count"))
        ratios = []
        for pair in range(pairs):
            took = {}
            for counter in counters if pair % 2 else reversed(counters):
                start = time.perf_counter()
                counter(requests)
                took[counter] = time.perf_counter() - start
            ratios.append(took[counters[0]] / took[counters[1]])
    return statistics.median(ratios)


def main(site, peers, folder, kind, requests="2000"):
    folder = pathlib.Path(folder)
    start, clients, columns = {
        "memory": (
            lambda _: contextlib.nullcontext("memory:"),
            1,
            {UNTOUCHED: [FLOOR, OURS, TOWER_SESSIONS]}
            | dict.fromkeys(ROUTES, [OURS, TOWER_SESSIONS])
            | {NEW: [OURS, TOWER_SESSIONS, OUR_COOKIE, ACTIX_SESSION]},
        ),
        "redis": (redis, 1, dict.fromkeys(ROUTES, [FLOOR, OURS])),
        "sqlite": (sqlite, 1, dict.fromkeys(ROUTES, [FLOOR, OURS, TOWER_SESSIONS])),
        "postgres": (postgres, 16, dict.fromkeys(ROUTES, [FLOOR, OURS])),
        "postgres-alone": (postgres, 1, dict.fromkeys(ROUTES, [FLOOR, OURS, TOWER_SESSIONS])),
    }[kind]
    columns = [(route, contender) for route, contenders in columns.items() for contender in contenders]
    measured, logged = {}, {}
    for contender in dict.fromkeys(contender for _, contender in columns):
        program = peers if contender in PEERS else site
        # A server of its own: this library refuses sessions that were signed with another secret.
        own_folder = folder / f"{kind}-{contender}"
        own_folder.mkdir()
        with start(own_folder) as store:
            running = Site(program, contender, store, folder)
            try:
                for (name, path), of in columns:
                    if of == contender:
                        before = place_in_log(store) if kind == "postgres-alone" else None
                        measured[name, of] = running.instructions(path, clients, int(requests))
                        if before:
                            found = records(own_folder, before, place_in_log(store))
                            logged[name, of] = found / (int(requests) + WARM_UP)
            finally:
                running.stop()
    columns = {f"{name}: {LABELS[of]}": (name, of) for (name, _), of in columns}
    lines = {
        "lines of code beyond the first cache": [measured[of][1] for of in columns.values()],
        "lines of data beyond the first cache": [measured[of][2] for of in columns.values()],
    }
    measured = {column: measured[of][0] for column, of in columns.items()}
    print("| instructions of one request | " + " | ".join(measured) + " |")
    print("|---|" + "---:|" * len(measured))
    for owner in [owner for owner, _ in OWNERS] + ["other"]:
        if any(column[owner] for column in measured.values()):
            print(f"| {owner} | " + " | ".join(f"{column[owner]:,.0f}" for column in measured.values()) + " |")
    print("| all | " + " | ".join(f"{sum(column.values()):,.0f}" for column in measured.values()) + " |")
    for line, counts in lines.items():
        print(f"| {line} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
    if logged:
        print("| records in the server's log | " + " | ".join(f"{logged[of]:.1f}" for of in columns.values()) + " |")
        gain = gain_without_indexes(site, folder)
        print(f"\nWith the primary key as the table's only index, a counter gets {gain:.2f} times as many answers a second.")


main(*sys.argv[1:])
