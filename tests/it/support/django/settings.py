"""The settings of the test's Django site, as far as tests differ in them, come from the environment."""

import json
import os
import sys

import pymysql

# Django asks for mysqlclient, whose place PyMySQL takes.
pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()

time_zone = os.environ.get("SITE_TIME_ZONE", "")

SECRET_KEY = os.environ["SITE_SECRET_KEY"]
DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
CACHES = {
    "default": json.loads(
        os.environ.get("SITE_CACHE", '{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}')
    )
}
SESSION_ENGINE = os.environ.get("SITE_SESSION_ENGINE", "db")
OWN_APPS = ["custom_sessions"] if SESSION_ENGINE == "custom_sessions.engine" else []
AUTH_USER_MODEL = os.environ.get("SITE_USER_MODEL", "auth.User")
if AUTH_USER_MODEL != "auth.User":
    OWN_APPS.append(AUTH_USER_MODEL.split(".")[0])
if SESSION_ENGINE != "custom_sessions.engine":
    # The engines of Django, or of another package in their place.
    SESSION_ENGINE = os.environ.get("SITE_ENGINES", "django.contrib.sessions.backends") + "." + SESSION_ENGINE
sys.path += filter(None, [os.environ.get("SITE_PACKAGES")])
SESSION_FILE_PATH = os.environ.get("SITE_SESSION_FILE_PATH")
storage = os.environ.get("SITE_MESSAGE_STORAGE", "fallback")
MESSAGE_STORAGE = f"django.contrib.messages.storage.{storage}.{storage.title()}Storage"
CSRF_USE_SESSIONS = os.environ.get("SITE_CSRF") == "session"
USE_TZ = not time_zone
TIME_ZONE = time_zone or "UTC"
INSTALLED_APPS = [
    # Its forms need a user model with `is_staff`.
    *(["django.contrib.admin"] if AUTH_USER_MODEL == "auth.User" else []),
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    *OWN_APPS,
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    *(["django.middleware.csrf.CsrfViewMiddleware"] if "SITE_CSRF" in os.environ else []),
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "views"
ALLOWED_HOSTS = ["127.0.0.1"]
# The errors of views are the test's business; each request is not.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django.request": {"handlers": ["console"], "level": "ERROR"},
        "django.server": {"handlers": ["console"], "level": "ERROR", "propagate": False},
    },
}
