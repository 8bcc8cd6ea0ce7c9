"""
Runs suites of Django's own source package with a session engine:

    python tests/django_suites.py --django-tests FOLDER --database sqlite --engine django_cloakroom.db auth_tests
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import servers

SETTINGS = """
DATABASES = {databases!r}
SESSION_ENGINE = {engine!r}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
if {database!r} == "mariadb":
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--django-tests", required=True, type=Path)
    parser.add_argument("--database", choices=["sqlite", "postgres", "mariadb"], default="sqlite")
    parser.add_argument("--engine", default="django_cloakroom.db")
    parser.add_argument("labels", nargs="+")
    arguments = parser.parse_args()
    if arguments.database == "sqlite":
        database = {"ENGINE": "django.db.backends.sqlite3"}
    else:
        database = getattr(servers, arguments.database)()
        if arguments.database == "mariadb":
            name_time_zones(database)
        database["NAME"] = "django"
    databases = {"default": database, "other": {**database, **({"NAME": "other"} if "NAME" in database else {})}}
    with tempfile.TemporaryDirectory() as folder:
        text = SETTINGS.format(databases=databases, engine=arguments.engine, database=arguments.database)
        (Path(folder) / "suite_settings.py").write_text(text)
        paths = [folder, os.path.abspath("package")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        runner = arguments.django_tests.resolve() / "runtests.py"
        command = [sys.executable, runner, "--settings", "suite_settings", "--parallel", "1", "--verbosity", "0"]
        done = subprocess.run([*command, *arguments.labels], env=environment, cwd=runner.parent)
    sys.exit(done.returncode)


def name_time_zones(database):
    """Without these tables MariaDB knows no zone by its name, as some tests ask for."""
    client = ["mariadb", "--host=127.0.0.1", f"--port={database['PORT']}", f"--user={database['USER']}", "mysql"]
    names = subprocess.run(["mariadb-tzinfo-to-sql", "/usr/share/zoneinfo"], check=True, capture_output=True)
    environment = {**os.environ, "MYSQL_PWD": database["PASSWORD"]}
    subprocess.run(client, env=environment, input=names.stdout, check=True)


if __name__ == "__main__":
    main()
