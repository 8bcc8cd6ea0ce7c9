"""The site of the tests. `run.py` sets DATABASES."""

SECRET_KEY = "the tests' secret"
DATABASES = {}
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
SESSION_ENGINE = "django_cloakroom.db"
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
# As in Django's own test settings.
USE_TZ = False
