"""Servers of the benchmarks: on free ports of loopback, with a folder of their own, ended with their benchmark."""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import time


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


@contextlib.contextmanager
def server(command, log=os.devnull, **options):
    """Writes what it says to the file `log`."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def redis(folder):
    port = free_port()
    with server(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]):
        until_it_listens(port)
        yield f"redis://127.0.0.1:{port}"


def postgres_programs():
    """The folder of PostgreSQL's programs."""
    return [*sorted(glob.glob("/usr/lib/postgresql/*/bin")), os.path.dirname(shutil.which("postgres") or "")][0]


@contextlib.contextmanager
def postgres(folder, fsync="off"):
    port, data, programs = free_port(), folder / "postgres", postgres_programs()
    # PostgreSQL refuses to be root; the Debian package brings this user.
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    data.mkdir()
    if user:
        folder.chmod(0o755)
        shutil.chown(data, "postgres", "postgres")
    initdb = [*user, f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True)
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", data, "-c", f"fsync={fsync}"]
    with server([*user, f"{programs}/postgres", "-D", data, *options], folder / "postgres.log"):
        until_it_listens(port)
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
