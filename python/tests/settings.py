"""The site of the tests. `run.py` sets DATABASES; a server that a test starts has the test's settings from it."""

import json
import os

SECRET_KEY = "the tests' secret"
OF_TEST = json.loads(os.environ.get("CLOAKROOM_TEST_SETTINGS", "{}"))
DATABASES = OF_TEST.get("DATABASES", {})
INSTALLED_APPS = [
    "django_cloakroom",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    # Django's own, from its source package.
    "sessions_tests",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
SESSION_ENGINE = OF_TEST.get("SESSION_ENGINE", "django_cloakroom.db")
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
SESSION_FILE_PATH = OF_TEST.get("SESSION_FILE_PATH")
# As in Django's own test settings.
USE_TZ = OF_TEST.get("USE_TZ", False)
CACHES = OF_TEST.get("CACHES", {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
if DATABASES.get("default", {}).get("ENGINE", "").endswith("mysql"):
    import pymysql

    # Django asks for a recent mysqlclient, and pymysql stands in for it.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
