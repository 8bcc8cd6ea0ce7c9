"""The site of `scripts/bench gate`: Django with its users, and a view that answers the gate's question.

As a program it is `manage.py`; gunicorn serves `application`.
"""

import os
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

database = urlsplit(os.environ["BENCH_DATABASE"])
settings.configure(
    SECRET_KEY="the secret of the benchmark's sites, which nobody else has: 0123456789",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=[
        # Says how long the answer is, which keeps connections open.
        "django.middleware.common.CommonMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "NAME": database.path[1:],
            # Connections are kept.
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGIN_URL="/accounts/login/",
)


def check(request):
    """As the gate answers: who is logged in, and in which groups."""
    user = request.user
    if not user.is_authenticated:
        return HttpResponse(status=401)
    groups = user.groups.order_by("name").values_list("name", flat=True)
    return HttpResponse(
        headers={
            "X-User-Id": user.pk,
            "X-User-Name": user.username,
            "X-User-Email": user.email,
            "X-User-Groups": ",".join(groups),
            "X-User-Staff": str(user.is_staff).lower(),
            "X-User-Superuser": str(user.is_superuser).lower(),
        }
    )


def seed(count):
    """Makes users, each in a group and logged in. Prints their session keys."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import Group, User
    from django.contrib.sessions.backends.db import SessionStore

    groups = Group.objects.bulk_create(Group(name=f"group {number}") for number in range(10))
    users = User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com", password=f"pbkdf2_sha256$1${number}$x")
        for number in range(count)
    )
    User.groups.through.objects.bulk_create(
        User.groups.through(user=user, group=groups[number % 10]) for number, user in enumerate(users)
    )
    for user in users:
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session["theme"], session["basket"] = "dark", [{"item": "coat", "count": 1}] * 3
        session.create()
        print(session.session_key)


urlpatterns = [path("check", check)]

if __name__ == "__main__":
    if sys.argv[1] == "seed":
        django.setup()
        seed(int(sys.argv[2]))
    else:
        execute_from_command_line(sys.argv)
else:
    application = get_wsgi_application()
