"""The Rust service beside the Django site: `service.rs`, an example of the library, and the stores' URLs."""

import functools
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.lru_cache
def program():
    """
    The built service: CLOAKROOM_SITE_VISITS, or what Cargo builds the first time, with all features, as for the
    library's own tests.
    """
    if built := os.environ.get("CLOAKROOM_SITE_VISITS"):
        return built
    command = ["cargo", "build", "--quiet", "--all-features", "-p", "cloakroom", "-p", "cloakroom-cli"]
    command += ["--example", "site_visits", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for message in map(json.loads, output.splitlines()):
        if message.get("executable") and message["target"]["name"] == "site_visits":
            return message["executable"]
    raise AssertionError("cargo built no site_visits")


def command(secret, store_url, port):
    """The service's command and environment."""
    return [program()], {
        **os.environ,
        "SECRET_KEY": secret,
        "STORE": store_url,
        "LISTEN": f"127.0.0.1:{port}",
    }


def store_url(engine, database, caches, folder):
    """The library's URL for what an engine of Django, or of this package, keeps its sessions in."""
    kind = engine.rsplit(".", 1)[-1]
    if kind == "file":
        return f"file:{folder}"
    if kind == "cache":
        return cache_url(caches["default"])
    if kind == "cached_db":
        return f"cached_db:{database_url(database)}|{cache_url(caches['default'])}"
    return database_url(database)


def cache_url(cache):
    if "memcached" in cache["BACKEND"]:
        return f"memcached://{cache['LOCATION']}"
    return cache["LOCATION"]


def database_url(database):
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[database["ENGINE"].rsplit(".", 1)[-1]]
    return "{}://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(scheme, **database)
