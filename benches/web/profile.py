"""Where the instructions of a request go: the floor's site, this library's and a peer's, under callgrind.

profile.py SITE PEERS FOLDER STORE [REQUESTS]: SITE is `bench-web-site`, PEERS `bench-web-peers`, FOLDER is for what is in
between, STORE is `redis`, with one client, `postgres`, with 16, whose requests share statements, or `memory`, with one,
beside tower-sessions. Prints a Markdown table.
"""

import concurrent.futures
import contextlib
import http.client
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from private_servers import free_port, postgres, redis, until_it_listens  # noqa: E402

ROUTES = [("S1 read", "/read"), ("S2 counter", "/count"), ("S3 new session", "/new"), ("S4 login", "/login")]
UNTOUCHED = ("S0 untouched", "/untouched")

FLOOR, OURS, TOWER_SESSIONS = "floor", "cloakroom", "tower-sessions"
LABELS = {FLOOR: "floor", OURS: "ours", TOWER_SESSIONS: "tower-sessions"}

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
    """A site under callgrind, and its clients."""

    def __init__(self, program, contender, store, folder):
        self.port = free_port()
        self.out = folder / f"{contender}.out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.out}"]
        command += [program, contender, str(self.port), store]
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
        """For one request: of each owner."""
        clients = [self.client(path) for _ in range(clients)]
        clients[0](100)
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
            ["callgrind_annotate", "--threshold=100", dump], check=True, capture_output=True, text=True
        ).stdout
        owners = dict.fromkeys([owner for owner, _ in OWNERS] + ["other"], 0)
        for count, function in re.findall(r"^ *([\d,]+) \([ \d.]+%\)  \S*?:(.*)$", text, re.MULTILINE):
            owner = next((owner for owner, pattern in OWNERS if re.search(pattern, function)), "other")
            owners[owner] += int(count.replace(",", "")) / requests
        return owners

    def stop(self):
        self.process.kill()
        self.process.wait()


def main(site, peers, folder, kind, requests="2000"):
    folder = pathlib.Path(folder)
    start, clients, columns = {
        "memory": (
            lambda _: contextlib.nullcontext("memory:"),
            1,
            {UNTOUCHED: [FLOOR, OURS, TOWER_SESSIONS]} | dict.fromkeys(ROUTES, [OURS, TOWER_SESSIONS]),
        ),
        "redis": (redis, 1, dict.fromkeys(ROUTES, [FLOOR, OURS])),
        "postgres": (postgres, 16, dict.fromkeys(ROUTES, [FLOOR, OURS])),
    }[kind]
    columns = [(route, contender) for route, contenders in columns.items() for contender in contenders]
    measured = {}
    for contender in dict.fromkeys(contender for _, contender in columns):
        program = peers if contender == TOWER_SESSIONS else site
        # A server of its own: this library refuses sessions that were signed with another secret.
        own_folder = folder / f"{kind}-{contender}"
        own_folder.mkdir()
        with start(own_folder) as store:
            running = Site(program, contender, store, folder)
            try:
                for (name, path), of in columns:
                    if of == contender:
                        measured[name, of] = running.instructions(path, clients, int(requests))
            finally:
                running.stop()
    measured = {f"{name}: {LABELS[of]}": measured[name, of] for (name, _), of in columns}
    print("| instructions of one request | " + " | ".join(measured) + " |")
    print("|---|" + "---:|" * len(measured))
    for owner in [owner for owner, _ in OWNERS] + ["other"]:
        if any(column[owner] for column in measured.values()):
            print(f"| {owner} | " + " | ".join(f"{column[owner]:,.0f}" for column in measured.values()) + " |")
    print("| all | " + " | ".join(f"{sum(column.values()):,.0f}" for column in measured.values()) + " |")


main(*sys.argv[1:])
