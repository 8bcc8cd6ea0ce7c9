"""Records which URLs Django redirects to after a login, and how it redirects to the login page, as vectors.

    python record_next.py OUTPUT

Cases are appended to OUTPUT/next.json, one a line; those that are already there stay.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import django
from django.conf import settings

APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
urlpatterns = []
settings.configure(ALLOWED_HOSTS=["*"], INSTALLED_APPS=APPS, ROOT_URLCONF=__name__, SECRET_KEY="x")
django.setup()

from django.contrib.auth.decorators import login_required  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.utils.encoding import iri_to_uri  # noqa: E402
from django.utils.http import url_has_allowed_host_and_scheme  # noqa: E402

HOSTS = [[], ["testserver"], ["testserver", "shop.example:8000"], ["[::1]:8000"], ["ada:pw@testserver"]]

URLS = [
    "", " ", "\t\n", "/", "/orders", "/orders?page=2#top", "orders", "./a", "../a", "?next=/", "#top", ".", "..",
    "//", "///", "////", "/ /evil.example", "/./evil.example", "//evil.example", "///evil.example", "////evil.example",
    "/\\evil.example", "\\/evil.example", "\\\\evil.example", "\\\\\\evil.example", "/\\/evil.example",
    "//\\evil.example", "\\evil.example", "a\\b", "/a\\b", "/a\\\\b", "http:\\\\evil.example", "http:/\\evil.example",
    "http://testserver", "http://testserver/", "http://testserver/a?b=http://evil.example", "HTTP://testserver/",
    "https://testserver/", "HtTpS://testserver", "//testserver/a", "//testserver:80/", "http://testserver:8000/",
    "http://TESTSERVER/", "http://testserver./", "http://shop.example:8000/", "http://shop.example/",
    "http://testserver@evil.example/", "http://evil.example@testserver/", "http://ada:pw@testserver/",
    "http://ada@testserver/", "http://testserver:pw@evil.example/", "http://testserver\\@evil.example/",
    "http://evil.example\\@testserver/", "http://testserver\\.evil.example/", "//testserver\\@evil.example",
    "//evil.example\\@testserver", "http://testserver#@evil.example/", "http://testserver?@evil.example/",
    "http://testserver/@evil.example", "http://testserver;@evil.example/", "http://testserver%40evil.example/",
    "http://testserver%2f@evil.example", "http:///evil.example", "http:////evil.example", "https:///evil.example",
    "http:/evil.example", "http:evil.example", "http:", "https:", "http://", "https://", "http:/", ":", "://", ":a",
    "://evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)",
    " javascript:alert(1)", "\x00javascript:alert(1)", "\x01javascript:alert(1)", "data:text/html,x", "ftp://testserver/",
    "ftp://evil.example/", "mailto:ada@testserver", "file:///etc/passwd", "vbscript:x", "blob:http://testserver/x",
    "x-y+z.1://testserver/", "1http://testserver/", "-http://testserver/", "+a:b", "ht_tp://testserver/", "h\u00e9:b",
    "http\u00e9://testserver/", "view-source:http://testserver/", "http://testserver\t/", "ht\ttp://testserver/",
    "http:/\t/testserver/", "/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example",
    "\n//evil.example", "\r\n//evil.example", "//\tevil.example", "/\x00/evil.example", "/\x0b/evil.example",
    "\x00//evil.example", "\x08//evil.example", "\x0b//evil.example", "\x1b//evil.example", "\x1c//evil.example",
    "\x1f//evil.example", "\x7f//evil.example", "\x80//evil.example", "\x85//evil.example", "\x9f//evil.example",
    "\xa0//evil.example", "\xad//evil.example", "\u1680//evil.example", "\u180e//evil.example",
    "\u2000//evil.example", "\u200b//evil.example", "\u200e//evil.example", "\u2028//evil.example",
    "\u2029//evil.example", "\u202e//evil.example", "\u2060//evil.example", "\u3000//evil.example",
    "\ue000//evil.example", "\ufeff//evil.example", "\uffff//evil.example", "\U000e0001//evil.example",
    "\x00/a", "\x08/a", "\x0b/a", "\x1b/a", "\x1c/a", "\x1f/a", "\x7f/a", "\x80/a", "\x85/a", "\xa0/a", "\xad/a",
    "\u200b/a", "\u2028/a", "\u202e/a", "\ufeff/a", "\ue000/a", "\u0378/a", "/a\x00", "/a\x1f", "/a\x7f", "/a\r\nSet-Cookie: x=y",
    " /a", "/a ", "\u3000/a\u3000", "\x1c/a\x1d", "/a b", "/a\tb", "/a\nb", "/\xe9", "\xe9", "\xe9/a", "\u4e2d/a", "\u0661/a",
    "\u20ac/a", "\u2026/a", "\u0301/a", "\U0001f600/a", "/\U0001f600", "//\xe9vil.example", "//testserver\uff0fa",
    "//evil\uff0eexample", "http://testserver\u2100/", "http://\u24d4vil.example", "http://testserver\u3002/",
    "http://[::1]/", "http://[::1]:8000/", "//[::1]:8000/a", "http://[::1", "http://::1]/", "http://[]/", "http://[/",
    "http://[::1]@testserver/", "http://[testserver]/", "http://[127.0.0.1]/", "http://[::ffff:127.0.0.1]/",
    "http://[v1.x]/", "http://[vz.x]/", "http://[v1.]/", "http://[fe80::1%25eth0]/", "http://[[::1]]:8000/", "/[a", "/a]",
    "?[", "#]", "http://testserver/[a", "http://testserver:/", "http://testserver:port/", "http://testserver:99999/",
    "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://localhost/", "//localhost", "http://.", "//.",
    "http://testserver,evil.example/", "http://testserver evil.example/", "http://testserver&evil.example/",
    "http://testserver'/", "http://testserver\"/", "http://testserver%00/", "http://testserver%0d%0aa/",
    "/%2F/evil.example", "/%5Cevil.example", "%2F%2Fevil.example", "/%09/evil.example", "%0a//evil.example",
    "/a?next=//evil.example", "/a#//evil.example", "/;//evil.example", ";//evil.example", "/a;b=c", "@evil.example",
    "testserver:80", "testserver:80/a", "localhost:8000/a", "evil.example", "evil.example/a", "www.evil.example:80/a",
    "/" + "a" * 2047, "/" + "a" * 2048, "/" + "\xe9" * 2047, "/" + "\xe9" * 2048, "http://testserver/" + "a" * 2040,
    " " * 3000 + "/a", "/a" + " " * 3000,
]

QUOTED = [
    "/", "/a?b=c&d=e#f", "/a b", "/\xe9", "/%C3%A9", "/a\tb", "/a\nb", "/\x00", "/\x7f", "/\"<>'", "/a\\b", "/[a]", "/{a}", "/a|b",
    "/a^b`", "/~a!$()*+,;=:@", "/\U0001f600", "/a%", "/a%zz",
]

LOGINS = [
    ("/login", "next"), ("/login?theme=dark", "next"), ("/login#form", "next"), ("/login?a=b#form", "to"), ("/login", "to"),
    ("/login", "a b"), ("/login", ""), ("/accounts/login/", "next"),
]

PATHS = [
    "/", "/orders", "/orders?page=2", "/orders?page=2&sort=a%20b", "/a%20b", "/%C3%A9", "/a?b=%2F", "/a?next=/b", "//evil.example",
    "//evil.example/a?b", "///evil.example", "/a+b?c=d+e", "/a;b=c?d;e", "/a?b=c#d", "/~a!$()*,:@", "/a?", "/a?b=http://c/",
]


def record():
    for url in URLS:
        is_safe = url_has_allowed_host_and_scheme
        # Without and with `require_https`.
        results = {" ".join(hosts): [is_safe(url, set(hosts), secure) for secure in (False, True)] for hosts in HOSTS}
        yield {"kind": "safe", "url": url, "results": results}
    for url in QUOTED:
        yield {"kind": "quoted", "url": url, "result": iri_to_uri(url)}
    for login_url, field in LOGINS:
        for path in PATHS:
            # As a server takes the request's target apart; the test client would read `//host` as a host.
            target, _, query = path.split("#")[0].partition("?")
            request = RequestFactory().generic("GET", "/", QUERY_STRING=query)
            request.path = unquote(target)
            request.user = SimpleNamespace(is_authenticated=False)
            view = login_required(lambda request: None, login_url=login_url, redirect_field_name=field)
            yield {"kind": "login", "login_url": login_url, "field": field, "target": path.split("#")[0],
                   "location": view(request)["Location"]}


def main():
    output = Path(sys.argv[1]) / "next.json"
    cases = json.loads(output.read_text()) if output.exists() else []
    known = {json.dumps({**case, "django_version": None, "id": None}, sort_keys=True) for case in cases}
    added = []
    for number, case in enumerate(record(), 1):
        version = django.get_version()
        case = {**case, "id": f"{case['kind']} {number} {version}", "django_version": version}
        # The same outcome in another release is one case.
        if json.dumps({**case, "django_version": None, "id": None}, sort_keys=True) not in known:
            added.append(case)
    lines = ",\n".join(json.dumps(case) for case in cases + added)
    output.write_text(f"[\n{lines}\n]\n")
    print(f"{django.get_version()}: {len(added)} cases added, {len(cases)} were there")


main()
