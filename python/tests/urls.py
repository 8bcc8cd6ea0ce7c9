"""The views of the tests."""

import asyncio
import time

from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path


def put(request, key):
    request.session[key] = True
    if "before_response" in request.GET:
        request.session.save()
    wait = request.META.get("tests.wait")
    if wait is not None:
        wait()
    return HttpResponse("ok")


def count(request):
    request.session.modify("count", lambda count: (count or 0) + 1)
    request.META["tests.wait"]()
    return HttpResponse("ok")


def visit(request, key):
    """Loads the session, takes its time, and leaves a key and a count."""
    request.session.get(key)
    time.sleep(0.05)
    request.session[key] = True
    # Django's engines have no `modify`.
    if hasattr(request.session, "modify"):
        request.session.modify("count", lambda count: (count or 0) + 1)
    return HttpResponse("ok")


async def avisit(request, key):
    await request.session.aget(key)
    await asyncio.sleep(0.05)
    await request.session.aset(key, True)
    if hasattr(request.session, "amodify"):
        await request.session.amodify("count", lambda count: (count or 0) + 1)
    return HttpResponse("ok")


def sign_in(request, name):
    login(request, User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("ok")


def sign_out(request):
    logout(request)
    return HttpResponse("ok")


urlpatterns = [
    path("put/<key>", put),
    path("count", count),
    path("visit/<key>", visit),
    path("avisit/<key>", avisit),
    path("sign_in/<name>", sign_in),
    path("sign_out", sign_out),
]
