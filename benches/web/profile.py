"""Where the instructions of a request go: the floor's site and this library's on Redis, under callgrind.

profile.py SITE FOLDER [REQUESTS]: SITE is `bench-web-site`, FOLDER is for what is in between. Prints a Markdown table.
"""

import http.client
import pathlib
import re
import socket
import subprocess
import sys
import time

ROUTES = [("S1 read", "/read"), ("S2 counter", "/count"), ("S3 new session", "/new")]

# To whom an instruction belongs: the first whose pattern is in the name of the function it stands in. Inlined code counts
# for the function that it is inlined into.
OWNERS = [
    ("allocating", r"malloc|^free|calloc|_int_free|unlink_chunk|__rust|__rdl|__rustc|\bfree \["),
    ("copying and comparing bytes", r"memcpy|memmove|memset|memcmp|bcmp|memchr_avx|strlen"),
    ("pickle", r"cloakroom::codec::pickle"),
    ("the rest of cloakroom", r"cloakroom::"),
    ("the floor's handlers", r"bench_web_site::"),
    ("serde", r"serde_json|serde_core"),
    ("redis and its parser", r"redis::|combine::"),
    ("axum and tower", r"axum|tower"),
    ("hyper, http, httparse", r"hyper|httparse|http::|bytes::"),
    ("tokio, mio", r"tokio|mio::"),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until_it_listens(port):
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


class Site:
    """A site under callgrind, and one client."""

    def __init__(self, program, contender, redis_port, folder):
        self.port = free_port()
        self.out = folder / f"{contender}.out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.out}"]
        command += [program, contender, str(self.port), f"redis://127.0.0.1:{redis_port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_it_listens(self.port)
        self.client = http.client.HTTPConnection("127.0.0.1", self.port)

    def get(self, path, cookie=None):
        self.client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        response = self.client.getresponse()
        response.read()
        assert response.status == 200, f"{path}: {response.status}"
        return response.getheader("Set-Cookie", "").split(";")[0]

    def control(self, *options):
        subprocess.run(["callgrind_control", *options, str(self.process.pid)], check=True, capture_output=True)

    def instructions(self, path, requests):
        """For one request: of each owner."""
        cookie = self.get("/seed") if path != "/new" else None
        for _ in range(100):
            self.get(path, cookie)
        self.control("--instr=on")
        self.control("--zero")
        for _ in range(requests):
            self.get(path, cookie)
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


def main(program, folder, requests="2000"):
    folder, redis_port = pathlib.Path(folder), free_port()
    command = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until_it_listens(redis_port)
        columns = []
        for contender in ["floor", "cloakroom"]:
            site = Site(program, contender, redis_port, folder)
            try:
                columns.append([site.instructions(path, int(requests)) for _, path in ROUTES])
            finally:
                site.stop()
    finally:
        redis.kill()
        redis.wait()
    print("| instructions of one request | " + " | ".join(f"{name}: floor | ours" for name, _ in ROUTES) + " |")
    print("|---|" + "---:|" * 2 * len(ROUTES))
    figures = lambda owner: [f"{column[route].get(owner, 0):,.0f}" for route in range(len(ROUTES)) for column in columns]
    for owner in columns[0][0]:
        print(f"| {owner} | " + " | ".join(figures(owner)) + " |")
    sums = [f"{sum(column[route].values()):,.0f}" for route in range(len(ROUTES)) for column in columns]
    print("| all | " + " | ".join(sums) + " |")


main(*sys.argv[1:])
