"""
Runs the tests of django-cloakroom against one database, with the Django of the Python that runs this:

    python tests/run.py --django-tests FOLDER [--database sqlite|postgres|mariadb] [LABEL ...]

FOLDER is `tests` of that Django's source package, which has `sessions_tests`; a wheel does not. The package itself is
the installed wheel, or the folder `package` after a build in place.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(instead=None):
    """Runs the tests, or `instead` with a migrated test database."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--django-tests", required=True, type=Path)
    parser.add_argument("--database", choices=["sqlite", "postgres", "mariadb"], default="sqlite")
    parser.add_argument("--verbosity", type=int, default=1)
    parser.add_argument("--counts", type=Path, help="a file that gets a line: how many passed, failed, were skipped")
    parser.add_argument("labels", nargs="*")
    arguments = parser.parse_args()
    sys.path[:0] = [str(HERE), str(arguments.django_tests.resolve())]

    import servers

    if arguments.database == "sqlite":
        folder = tempfile.TemporaryDirectory(prefix="cloakroom-sqlite-")
        # A file, because threads have connections of their own.
        name = os.path.join(folder.name, "test.sqlite3")
        options = {"timeout": 60}
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options, "TEST": {"NAME": name}}
    elif arguments.database == "postgres":
        database = servers.postgres()
    else:
        import pymysql

        # Django asks for a recent mysqlclient, and pymysql stands in for it.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
        database = servers.mariadb()

    import settings as test_settings

    test_settings.DATABASES = {"default": database}
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

    import django
    from django.test.runner import DiscoverRunner

    django.setup()
    if instead is not None:
        runner = DiscoverRunner(verbosity=0, interactive=False)
        runner.setup_test_environment()
        databases = runner.setup_databases()
        instead()
        runner.teardown_databases(databases)
        return
    labels = arguments.labels or sorted(path.stem for path in HERE.glob("test_*.py"))

    class Runner(DiscoverRunner):
        def suite_result(self, suite, result, **kwargs):
            failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
            skipped = len(result.skipped) + len(result.expectedFailures)
            if arguments.counts is not None:
                with arguments.counts.open("a") as counts:
                    print(max(0, result.testsRun - failed - skipped), failed, skipped, file=counts)
            return super().suite_result(suite, result, **kwargs)

    failures = Runner(verbosity=arguments.verbosity, interactive=False).run_tests(labels)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
