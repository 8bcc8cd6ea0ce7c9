"""What the tests of the recipes add to a new project: settings from a file, and the pages that people click on."""

import json
from pathlib import Path

from django.contrib.auth import get_user_model, login, logout
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def settings(base_dir):
    """The settings of site.json, which a deployment rewrites."""
    site = json.loads((Path(base_dir) / "site.json").read_text())
    found = {
        "SECRET_KEY": site["secret"],
        "SECRET_KEY_FALLBACKS": site["fallbacks"],
        "SESSION_ENGINE": "django.contrib.sessions.backends." + site["engine"],
        "SESSION_FILE_PATH": site["file_path"],
        "ROOT_URLCONF": "site_pages",
        "ALLOWED_HOSTS": ["*"],
        "DEBUG": False,
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    }
    if site["caches"]:
        found["CACHES"] = site["caches"]
    if site["sessions_database"]:
        found["SESSIONS_DATABASE"] = site["sessions_database"]
        found["DATABASE_ROUTERS"] = ["site_pages.SessionsRouter"]
    return found


class SessionsRouter:
    """Keeps the sessions in a database of their own."""

    def db_for_read(self, model, **hints):
        return "sessions" if model._meta.app_label == "sessions" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "sessions") == (app_label == "sessions")


def answer(request):
    user = request.user.username if request.user.is_authenticated else None
    return JsonResponse({"user": user, "django": request.session.get("django", 0), "rust": request.session.get("rust", 0)})


@csrf_exempt
def log_in(request, name):
    user = get_user_model().objects.get(username=name)
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return answer(request)


@csrf_exempt
def click(request):
    if request.user.is_authenticated:
        request.session["django"] = request.session.get("django", 0) + 1
    return answer(request)


@csrf_exempt
def look(request):
    return answer(request)


@csrf_exempt
def log_out(request):
    logout(request)
    return HttpResponse("{}")


urlpatterns = [
    path("login/<str:name>", log_in),
    path("click", click),
    path("look", look),
    path("logout", log_out),
]
