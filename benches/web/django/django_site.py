"""The site of `scripts/bench web` made with Django, with the routes of ../site and Django's defaults.

As a program it makes the table; gunicorn serves `application`.
"""

import os
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

database = urlsplit(os.environ["BENCH_DATABASE"])
settings.configure(
    SECRET_KEY="the secret of the benchmark's sites",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    # CommonMiddleware says how long the answer is, which keeps connections open.
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
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
)

TEXTS = {
    "_auth_user_id": "12345",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "6f0d1a5c93b7e2848d4f1f3b0a7c6e5d92b18a40c7f3e6d5b4a39281706f5e4d",
    "name": "Ada Lovelace",
    "token": "kq3vX8Zr1LwYt6Bn0Dc5Gm9Hs2Jp7Fu4Ka8Qe1Ro3Ti6Wx9Az2Cv5Bn0Mq4Es7Ul1YgRd5Tb8Nc3Vx6Zmq",
}


def untouched(request):
    return HttpResponse("ok")


def seed(request):
    request.session.update(TEXTS)
    request.session["count"] = 0
    return HttpResponse("ok")


def read(request):
    return HttpResponse(request.session.get("name", ""))


def count(request):
    count = request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(count)


def new(request):
    request.session["name"] = "Ada Lovelace"
    request.session["language"] = "en"
    request.session["theme"] = "dark"
    return HttpResponse("ok")


def login(request):
    request.session.cycle_key()
    request.session["user"] = "12345"
    return HttpResponse("ok")


def user(request):
    return HttpResponse(request.session.get("user", ""))


urlpatterns = [path(view.__name__, view) for view in (untouched, seed, read, count, new, login, user)]

if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0)
else:
    application = get_wsgi_application()
