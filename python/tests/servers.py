"""
Real servers for the tests, private ones: each in a temporary folder, on a free port of the loopback address, stopped by
its process id and gone with this process. As tests/it/support/servers does it for the Rust tests.
"""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "open-sesame-8731"


def postgres():
    """The settings of a new PostgreSQL server's database."""
    folder = _folder("postgres")
    user = ()
    if os.getuid() == 0:
        # PostgreSQL refuses to run as root; the Debian package brings this user.
        shutil.chown(folder, "postgres")
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    data, port = folder / "data", _free_port()
    initdb, server = _program("initdb"), _program("postgres")
    options = ["--no-sync", "-A", "scram-sha-256", "-U", "cloakroom", "-E", "UTF8", "--locale=C.UTF-8"]
    _run(*user, initdb, "-D", data, *options, "--pwfile", password, cwd=folder)
    options = ["-h", "127.0.0.1", "-c", "max_connections=200", "-c", "fsync=off", "-p", str(port), "-k", folder]
    _start(folder, *user, server, "-D", data, *options)
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "cloakroom",
        "PASSWORD": PASSWORD,
        "HOST": "127.0.0.1",
        "PORT": port,
    }
    _wait(folder, port)
    return settings


def mariadb():
    """The settings of a new MariaDB server's database."""
    folder = _folder("mariadb")
    common = [f"--datadir={folder}/data", f"--tmpdir={folder}"]
    if os.getuid() == 0:
        common.append("--user=root")
    installing = ["--auth-root-authentication-method=normal", "--skip-test-db"]
    _run(_program("mariadb-install-db"), "--no-defaults", *common, *installing, cwd=folder)
    accounts, port = folder / "accounts.sql", _free_port()
    accounts.write_text(
        f"CREATE USER cloakroom@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO cloakroom@'%';\n"
        "CREATE DATABASE cloakroom CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;\n"
    )
    files = [f"--socket={folder}/socket", f"--pid-file={folder}/pid", f"--init-file={accounts}"]
    network = ["--bind-address=127.0.0.1", f"--port={port}", "--max-connections=300"]
    _start(folder, _program("mariadbd"), "--no-defaults", *common, *files, *network)
    _wait(folder, port)
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "cloakroom",
        "USER": "cloakroom",
        "PASSWORD": PASSWORD,
        "HOST": "127.0.0.1",
        "PORT": port,
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"},
    }


def redis():
    """The URL of a new Redis server."""
    folder, port = _folder("redis"), _free_port()
    options = ["--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", "", "--requirepass", PASSWORD]
    _start(folder, _program("redis-server"), *options)
    _wait(folder, port)
    return f"redis://:{PASSWORD}@127.0.0.1:{port}"


def memcached():
    """The address of a new memcached."""
    folder, port = _folder("memcached"), _free_port()
    user = ["-u", "root"] if os.getuid() == 0 else []
    _start(folder, _program("memcached"), "-l", "127.0.0.1", "-p", port, "-U", "0", *user)
    _wait(folder, port)
    return f"127.0.0.1:{port}"


def _folder(name):
    folder = Path(tempfile.mkdtemp(prefix=f"cloakroom-{name}-"))
    folder.chmod(0o755)
    return folder


def _program(name):
    hidden = [f"/usr/lib/postgresql/{version}/bin" for version in range(20, 12, -1)]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/bin", *hidden]))
    if found is None:
        raise SystemExit(f"{name} is missing; run scripts/install-test-servers")
    return found


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(*command, cwd):
    subprocess.run([str(word) for word in command], cwd=cwd, check=True, capture_output=True)


def _start(folder, *command):
    log = open(folder / "log", "wb")
    # Ends with this process, whatever ends it.
    command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def stop():
        process.kill()
        process.wait()
        # PostgreSQL's own processes end a moment after it.
        for _attempt in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                return
            time.sleep(0.1)

    atexit.register(stop)


def _wait(folder, port):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(0.5)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no server on port {port}; its log:\n{(folder / 'log').read_text()}")
