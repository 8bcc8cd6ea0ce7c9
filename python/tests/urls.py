"""The views of the tests."""

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


def sign_in(request, name):
    login(request, User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("ok")


def sign_out(request):
    logout(request)
    return HttpResponse("ok")


urlpatterns = [
    path("put/<key>", put),
    path("count", count),
    path("sign_in/<name>", sign_in),
    path("sign_out", sign_out),
]
