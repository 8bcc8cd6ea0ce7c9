"""What the test's Django site does under each path; the axum site does the same."""

import json
from datetime import datetime, timedelta, timezone

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth import authenticate, get_user_model, login, logout
from django.contrib.sessions.models import Session
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils.safestring import SafeData, mark_safe


def done():
    return JsonResponse({})


def whoami(request):
    session = request.session
    user = request.user
    return JsonResponse(
        {
            "user": user.get_username() if user.is_authenticated else None,
            # As text, so that the test sees how numbers are spelled.
            "session": json.dumps(
                dict(session.items()), separators=(",", ":"), default=datetime.isoformat
            ),
        }
    )


def log_in(request):
    form = json.loads(request.body)
    user = authenticate(request, username=form["username"], password=form["password"])
    login(request, user)
    return done()


def log_out(request):
    logout(request)
    return done()


def cycle_key(request):
    request.session.cycle_key()
    return done()


def put(request):
    request.session.update(json.loads(request.body))
    return done()


def count(request, number):
    """As the axum site's. Django's own engines have no `modify`."""
    request.session[f"key {number}"] = number
    if hasattr(request.session, "modify"):
        request.session.modify("counter", lambda counter: (counter or 0) + 1)
    else:
        request.session["counter"] = request.session.get("counter", 0) + 1
    return done()


def put_python_objects(request):
    """What only a pickle carries."""
    request.session["tuple"] = (1, ("two", [3.5, None]), ())
    request.session["moment"] = datetime(2024, 2, 29, 12, 30, 45, 678901, tzinfo=timezone.utc)
    request.session["nested objects"] = {"times": [(datetime(1999, 12, 31, 23, 59),)]}
    return done()


def steps(request):
    """Calls these methods of the session one after the other."""
    for step in json.loads(request.body):
        match step:
            case "set":
                request.session["set"] = 1
            case "get":
                request.session.get("set")
            case "fail":
                return JsonResponse({}, status=500)
            case method:
                getattr(request.session, method)()
    return done()


def python_values(request):
    """Each value as Python shows it, so that a tuple is no list and a date is no text."""
    return JsonResponse({key: repr(value) for key, value in request.session.items()})


def account(request):
    """The row of the user, for a site that has no driver for the database."""
    user = get_user_model().objects.get()
    return JsonResponse({"id": str(user.pk), "username": user.get_username(), "password": user.password})


def sessions_of(request):
    """The keys of an account's sessions, as the column of the session model of its own has them."""
    account = json.loads(request.GET["account"])
    found = request.session.get_model_class().objects.filter(account_id=account)
    return JsonResponse({"session_keys": [session.session_key for session in found]})


def set_expiry(request):
    form = json.loads(request.body)
    match form["kind"]:
        case "seconds":
            expiry = form["value"]
        case "datetime":
            expiry = datetime.fromisoformat(form["value"])
        case "timedelta":
            expiry = timedelta(seconds=form["value"])
        case "default":
            expiry = None
    request.session.set_expiry(expiry)
    return done()


def expiry(request):
    session = request.session
    modification = datetime.fromisoformat(request.GET["modification"])
    return JsonResponse(
        {
            "age": session.get_expiry_age(modification=modification),
            "date": session.get_expiry_date(modification=modification).isoformat(),
            "at_browser_close": session.get_expire_at_browser_close(),
            "expire_date": Session.objects.get(pk=session.session_key).expire_date.isoformat(),
        }
    )


def show_messages(request):
    """Adds the message that the query describes, and answers with what it was asked for."""
    query = request.GET
    storage = messages.get_messages(request)
    shown = list(storage) if query.get("do") in ("read", "peek") else []
    if query.get("do") == "peek":
        storage.used = False
    if text := query.get("text"):
        text = mark_safe(text) if query.get("safe") == "1" else text
        level = int(query.get("level", messages.SUCCESS))
        messages.add_message(request, level, text, extra_tags=query.get("tags", ""))
    shown = [[m.tags, str(m.message), isinstance(m.message, SafeData)] for m in shown]
    return JsonResponse(shown, safe=False)


def csrf(request):
    """A token for a page; any other method must bring one."""
    return HttpResponse(get_token(request) if request.method == "GET" else "")


urlpatterns = [
    path("csrf", csrf),
    path("messages", show_messages),
    path("whoami", whoami),
    path("login", log_in),
    path("logout", log_out),
    path("cycle_key", cycle_key),
    path("put", put),
    path("steps", steps),
    path("count/<int:number>", count),
    path("put_python_objects", put_python_objects),
    path("python_values", python_values),
    path("account", account),
    path("sessions_of", sessions_of),
    path("set_expiry", set_expiry),
    path("expiry", expiry),
]
if apps.is_installed("django.contrib.admin"):
    urlpatterns.append(path("admin/", admin.site.urls))
