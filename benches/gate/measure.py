"""The gate beside a Django view that answers the same question, behind the same nginx.

measure.py CLOAKROOM FOLDER [ROUNDS [SECONDS]]: CLOAKROOM is the command, FOLDER is for what is in between. Run it with a
Python that has Django, gunicorn and psycopg; wrk must be installed. Prints a Markdown table.

Both take turns on one machine, with one PostgreSQL. The back end is a line of nginx. nginx has one worker, for both alike.
"""

import asyncio
import contextlib
import glob
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path.insert(0, str(PROJECT / "benches"))
from private_servers import free_port, postgres, server, until_it_listens  # noqa: E402

USERS = 1_000
CONNECTIONS = 32
TICKS = os.sysconf("SC_CLK_TCK")


def nginx_file(folder, name, listen, asked, path, backend):
    """The shipped file, with the addresses of this run."""
    text = (PROJECT / "contrib/gate/nginx.conf").read_text()
    for old, new in [
        ("127.0.0.1:9180", f"127.0.0.1:{asked}"),
        ("127.0.0.1:3000", f"127.0.0.1:{backend}"),
        ("127.0.0.1:8080", f"127.0.0.1:{listen}"),
        ("http://gate/auth/nginx;", f"http://gate{path};"),
    ]:
        assert old in text, f"contrib/gate/nginx.conf has no {old}"
        text = text.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{name}-{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    direct = f"server {{ listen 127.0.0.1:{backend}; keepalive_requests 1000000; return 200 'ok'; }}"
    conf = folder / f"{name}.conf"
    conf.write_text(
        f"pid {folder}/{name}.pid;\nworker_processes 1;\ndaemon off;\nerror_log stderr;\n"
        f"events {{ worker_connections 4096; }}\n"
        f"http {{\naccess_log off;\nkeepalive_requests 1000000;\n{temporary}{text}\n{direct}\n}}\n"
    )
    return conf


def cpu(process):
    """Seconds of the process and its children."""
    seconds, waiting = 0.0, [process.pid]
    while waiting:
        pid = waiting.pop()
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
        for children in glob.glob(f"/proc/{pid}/task/*/children"):
            waiting += map(int, pathlib.Path(children).read_text().split())
    return seconds


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1_000}[unit]


def most(port, script, seconds):
    """As many requests as there can be: a second, p50 and p99 in milliseconds, and how many there were."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script, f"http://127.0.0.1:{port}/"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    quantile = dict(re.findall(r"^\s+(\d+)%\s+(\S+)$", text, re.MULTILINE))
    per_second = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return per_second, milliseconds(quantile["50"]), milliseconds(quantile["99"]), requests


def thousand(port, cookies, host, seconds):
    """1,000 requests a second, each at its time: p50 and p99 in milliseconds."""

    async def ask(connection, start, at, cookie):
        reader, writer = connection
        await asyncio.sleep(start + at - time.perf_counter())
        sent = time.perf_counter()
        writer.write(f"GET /app HTTP/1.1\r\nHost: {host}\r\nCookie: sessionid={cookie}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        return (time.perf_counter() - sent) * 1_000

    async def connected(number, start):
        connection = await asyncio.open_connection("127.0.0.1", port)
        numbers = range(number, 1_000 * seconds, CONNECTIONS)
        return [await ask(connection, start, at / 1_000, cookies[at % len(cookies)]) for at in numbers]

    async def all_of_them():
        start = time.perf_counter() + 0.2
        return await asyncio.gather(*(connected(number, start) for number in range(CONNECTIONS)))

    times = sorted(sum(asyncio.run(all_of_them()), []))
    return times[len(times) // 2], times[len(times) * 99 // 100]


def main(cloakroom, folder, rounds="5", seconds="3"):
    folder, rounds, seconds = pathlib.Path(folder), int(rounds), int(seconds)
    for program in ["wrk", "nginx"]:
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"{program} is missing; on Debian: apt-get install {program}{'-light' if program == 'nginx' else ''}")
    host = "wiki.example.com"
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(folder))
        environment = dict(os.environ, BENCH_DATABASE=database)
        manage = [sys.executable, str(HERE / "gate_site.py")]
        subprocess.run([*manage, "migrate", "-v0"], check=True, env=environment)
        made = subprocess.run([*manage, "seed", str(USERS)], check=True, env=environment, capture_output=True, text=True)
        keys = made.stdout.split()
        script = folder / "cookies.lua"
        cookies = ", ".join(f'"sessionid={key}"' for key in keys)
        script.write_text(
            f"local cookies = {{ {cookies} }}\nlocal requests, next = {{}}, 0\n"
            "init = function()\n for number, cookie in ipairs(cookies) do\n"
            f'  requests[number] = wrk.format("GET", "/app", {{ Host = "{host}", Cookie = cookie }})\n end\nend\n'
            "request = function()\n next = next % #requests + 1\n return requests[next]\nend\n"
        )

        django_port, gate_port, backend = free_port(), free_port(), free_port()
        # As many workers as gunicorn's documents recommend for two processors.
        gunicorn = [sys.executable, "-m", "gunicorn", "--workers", "5", "--worker-class", "gthread", "--threads", "4"]
        gunicorn += ["--keep-alive", "75", "--log-level", "warning", "--bind", f"127.0.0.1:{django_port}"]
        gunicorn += ["--chdir", str(HERE), "gate_site:application"]
        django = stack.enter_context(server(gunicorn, folder / "gunicorn.log", env=environment))
        config = folder / "gate.toml"
        config.write_text(
            f'listen = "127.0.0.1:{gate_port}"\nscheme = "http"\n[[rule]]\nhost = "{host}"\npath = "/app"\nallow = "login"\n'
        )
        command = [cloakroom, "gate", "--config", str(config), "--from-django", str(HERE / "gate_site.py")]
        command += ["--python", sys.executable]
        gate = stack.enter_context(server(command, folder / "gate.log", env=environment))
        until_it_listens(django_port)
        until_it_listens(gate_port)
        ports = {}
        for name, asked, path in [("django", django_port, "/check"), ("gate", gate_port, "/auth/nginx")]:
            ports[name] = free_port()
            conf = nginx_file(folder, name, ports[name], asked, path, backend if name == "gate" else free_port())
            command = ["nginx", "-c", str(conf), "-e", str(folder / f"{name}.log")]
            path = os.environ["PATH"] + ":/usr/sbin"
            stack.enter_context(server(command, folder / f"nginx-{name}.log", env=dict(environment, PATH=path)))
            until_it_listens(ports[name])

        processes = {"django": django, "gate": gate}
        measured = {name: [] for name in processes}
        slow, alone = [], []
        for port in ports.values():
            most(port, script, 1)
        for round in range(rounds):
            for name in sorted(processes, reverse=round % 2 == 1):
                before = cpu(processes[name])
                per_second, p50, p99, requests = most(ports[name], script, seconds)
                used = (cpu(processes[name]) - before) * 10_000 / requests
                measured[name].append((per_second, p50, p99, used))
            # The back end alone, and behind the gate, each at 1,000 requests a second.
            alone.append(thousand(backend, keys, host, seconds))
            slow.append(thousand(ports["gate"], keys, host, seconds))

    median = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in measured.items()}
    ratios = [
        (gate[0] / django[0], django[3] / gate[3]) for django, gate in zip(measured["django"], measured["gate"])
    ]
    print(f"Medians of {rounds} rounds of {seconds} s, {CONNECTIONS} connections, {USERS} users.\n")
    print("| behind nginx `auth_request` | requests/s | p50, ms | p99, ms | CPU seconds for 10,000 answers |")
    print("|---|---:|---:|---:|---:|")
    for name, label in [("django", "a Django view, gunicorn"), ("gate", "`cloakroom gate`")]:
        per_second, p50, p99, used = median[name]
        print(f"| {label} | {per_second:,.0f} | {p50:.2f} | {p99:.2f} | {used:.3f} |")
    more, less = (statistics.median(column) for column in zip(*ratios))
    print(f"\nThe gate answers {more:.1f} times as many requests a second, with 1/{less:.0f} of the CPU.\n")
    print("| at 1,000 requests a second | p50, ms | p99, ms |")
    print("|---|---:|---:|")
    for label, rows in [("the back end alone", alone), ("behind nginx and the gate", slow)]:
        p50, p99 = (statistics.median(column) for column in zip(*rows))
        print(f"| {label} | {p50:.2f} | {p99:.2f} |")


main(*sys.argv[1:])
