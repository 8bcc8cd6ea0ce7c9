"""The settings of the test's Django site: database, secret and time zone come from the environment."""

import os

time_zone = os.environ.get("SITE_TIME_ZONE", "")

SECRET_KEY = os.environ["SITE_SECRET_KEY"]
DATABASES = {
    "default": {
        "ENGINE": os.environ.get("SITE_DATABASE_ENGINE", "django.db.backends.sqlite3"),
        "NAME": os.environ["SITE_DATABASE_NAME"],
    }
}
USE_TZ = not time_zone
TIME_ZONE = time_zone or "UTC"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
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
