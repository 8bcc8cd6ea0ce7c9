"""The commands of docs/django-engine.md, and the example site's own tests."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from django.test import SimpleTestCase

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/django-engine.md"
EXAMPLE = ROOT / "python/example"
# scripts/package-python runs this one.
INSTALLATION = ["pip install django-cloakroom"]
SAMPLE_ID = "3f9a0c61b2d4"

# Three logins of user 7; prints the public id of the last.
LOGINS = """
from django.contrib.auth.models import User
from django.test import Client
from django_cloakroom.user_sessions import public_id
user = User.objects.create_user("ann", pk=7)
for _ in range(3):
    client = Client()
    client.force_login(user)
print(public_id(client.cookies["sessionid"].value)[:12])
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


class Page(SimpleTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="cloakroom-example-")
        self.addCleanup(folder.cleanup)
        self.site = Path(folder.name) / "site"
        shutil.copytree(EXAMPLE, self.site, ignore=shutil.ignore_patterns("*.sqlite3", "__pycache__"))

    def run_command(self, *command):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # The package that is tested: the folder, or the installed wheel.
        if "PYTHONPATH" in environment:
            environment["PYTHONPATH"] = str(Path(environment["PYTHONPATH"]).resolve())
        done = subprocess.run(command, cwd=self.site, env=environment, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def test_each_command_of_the_page(self):
        commands = [line for block in blocks("sh") for line in block.splitlines()]
        self.assertEqual([command for command in commands if not command.startswith("python ")], INSTALLATION)
        seen, current = {}, SAMPLE_ID
        for command in commands[1:]:
            if "revoke" in command and SAMPLE_ID in command:
                command = command.replace(SAMPLE_ID, current)
            seen[command.split("manage.py ")[1]] = self.run_command("sh", "-c", command)
            if command.endswith(" migrate"):
                current = self.run_command("python", "-c", PREPARE + LOGINS).split()[-1]
        self.assertIn("Created the table cloakroom_user_session", seen["migrate"])
        self.assertIn("3 sessions looked at, 3 with a user are in the index", seen["usersessions rebuild"])
        self.assertEqual(len(seen["usersessions list --user 7"].splitlines()), 3)
        self.assertIn("2 sessions of user 7 revoked", seen[f"usersessions revoke --user 7 --except {current}"])
        self.assertIn("1 session of user 7 revoked", seen["usersessions revoke --user 7"])

    def test_the_example_sites_own_tests(self):
        self.assertIn("OK", self.run_command("python", "manage.py", "test", "shop"))

    def test_the_example_moves_back_with_one_line(self):
        self.run_command("python", "manage.py", "migrate")
        settings = self.site / "shop/settings.py"
        ours = settings.read_text()
        line = 'SESSION_ENGINE = "django_cloakroom.db"'
        self.assertIn(line, ours)
        self.assertIn(line, PAGE.read_text())
        engines = [line, 'SESSION_ENGINE = "django.contrib.sessions.backends.db"']
        make = "session = SessionStore()\nsession['n'] = 0\nsession.save()\nprint(session.session_key)"
        key = self.run_command("python", "-c", PREPARE + STORE + make).split()[-1]
        for count in range(1, 5):
            settings.write_text(ours.replace(line, engines[count % 2]))
            step = f"session = SessionStore({key!r})\nsession['n'] += 1\nsession.save()\nprint(session['n'])"
            self.assertEqual(self.run_command("python", "-c", PREPARE + STORE + step).split()[-1], str(count))

    def test_the_handler_that_counts(self):
        import logging

        from django_cloakroom import telemetry

        (block,) = [block for block in blocks("python") if "class Counter" in block]
        logger = logging.getLogger("django_cloakroom")
        before = logger.level, logger.handlers[:]
        names = {}
        try:
            exec(block, names)
            telemetry.merged(self, 1)
            telemetry.interrupted(self)
        finally:
            logger.setLevel(before[0])
            logger.handlers[:] = before[1]
        self.assertEqual(names["Counter"].events, {"merged": 1, "interrupted": 1})


PREPARE = "import os, django\nos.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\ndjango.setup()\n"
STORE = """
from importlib import import_module
from django.conf import settings
SessionStore = import_module(settings.SESSION_ENGINE).SessionStore
"""
