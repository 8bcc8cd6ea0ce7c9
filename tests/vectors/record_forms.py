"""Runs Django's own csrf_tests and messages_tests and records what Django did, as vectors.

    python record_forms.py TESTS OUTPUT

TESTS is the folder `tests` of the source package of the Django that this Python has
(`pip download --no-deps --no-binary :all: "Django==5.2.19"`). Cases are appended to OUTPUT/csrf.json and
OUTPUT/messages.json, one a line; those that are already there stay. A test of which nothing is recorded must be named
in NOT_TRANSFERABLE, with the reason.
"""

import json
import os
import sys
from pathlib import Path

import django
from django.conf import settings

NOT_TRANSFERABLE = {
    # csrf_tests
    "test_context_processor": "the context processor of Django's templates",
    "test_no_session_on_request": "Python's ImproperlyConfigured; here it is Error::NoLayer",
    "test_does_token_match_wrong_token_length": "an assertion about a private function",
    "test_csrf_token_on_404_stays_constant": "the test client; its two requests share Django's request class",
    # messages_tests
    "test_repr": "Python's repr",
    "test_eq": "Python's ==",
    "test_bisect_keep_left": "a private function; the cases of too small cookies run it",
    "test_bisect_keep_right": "a private function; the cases of too small cookies run it",
    "test_json_encoder_decoder": "messages inside of dictionaries, which no storage writes",
    "test_no_session": "Python's ImproperlyConfigured; here it is Error::NoLayer",
    "test_ok": "a storage that the test makes itself",
    "test_request_is_none": "a Python TypeError",
    "test_middleware_missing": "Python's MessageFailure; here it is Error::LayerMissing",
    "test_middleware_missing_silently": "`fail_silently`, which Rust writes as Option<Messages>",
    "test_middleware_disabled": "Python's MessageFailure; here it is Error::LayerMissing",
    "test_middleware_disabled_fail_silently": "`fail_silently`, which Rust writes as Option<Messages>",
    "test_response_without_messages": "a middleware without its request half; here they are one",
    "test_override_settings_level_tags": "Django's lazy settings",
    "test_lazy": "Django's lazy settings",
    "test_override_settings_lazy": "Django's lazy settings",
    "test_assertion": "assertMessages of Django's test tools",
    "test_with_tags": "assertMessages of Django's test tools",
    "test_custom_levelname": "assertMessages of Django's test tools",
    "test_ordered": "assertMessages of Django's test tools",
    "test_mismatching_length": "assertMessages of Django's test tools",
    "test_method_frames_ignored_by_unittest": "assertMessages of Django's test tools",
    "test_context_processor_message_levels": "the context processor of Django's templates",
}

SECRET = "django-insecure-one-secret-for-both-sites"
#: What Django's runtests.py sets, as far as these tests need it.
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


class Recorder:
    """The cases of the test that runs."""

    def __init__(self):
        self.test = None
        self.cases = {"csrf": [], "messages": []}
        self.tests = {}

    def begin(self, test):
        self.test = test.id()
        self.tests[self.test] = 0

    def add(self, name, case):
        # The other suite's requests pass through both middlewares.
        if self.test is None or not self.test.startswith(name):
            return case
        self.tests[self.test] += 1
        case["id"] = f"{self.test} {self.tests[self.test]}"
        case["django_version"] = django.get_version()
        self.cases[name].append(case)
        return case


RECORDER = Recorder()


def changed(names):
    """These settings, where they are not Django's defaults."""
    from django.conf import global_settings

    found = {}
    for name in names:
        value, default = getattr(settings, name, None), getattr(global_settings, name, None)
        if value != default:
            found[name] = value
    return found


def set_cookies(response):
    return [cookie.OutputString() for cookie in response.cookies.values()]


# Messages


def record_messages():
    from django.contrib.messages.storage import base, cookie, fallback
    from django.utils.safestring import SafeData

    encode = cookie.MessageEncoder().encode
    inside = []

    def shown(message):
        if not isinstance(message, base.Message):
            return {"bare": message}
        return {
            "level": message.level,
            "text": str(message.message),
            "safe": isinstance(message.message, SafeData),
            "extra_tags": message.extra_tags,
            "tags": message.tags,
        }

    def settings_of_messages():
        names = ["MESSAGE_LEVEL", "MESSAGE_TAGS"]
        names += ["SESSION_COOKIE_" + name for name in ("DOMAIN", "SECURE", "HTTPONLY", "SAMESITE")]
        found = changed(names)
        if "MESSAGE_TAGS" in found:
            found["MESSAGE_TAGS"] = [list(item) for item in found["MESSAGE_TAGS"].items()]
        return found

    def note(storage, operation):
        trace = storage._trace
        if trace is None:
            return
        if "request" not in trace:
            request = storage.request
            session = getattr(request, "session", None)
            if hasattr(storage, "_loaded_data"):
                trace["request"] = {"preset": encode(storage._loaded_data)}
            else:
                trace["request"] = {
                    "cookie": request.COOKIES.get("messages"),
                    "session": None if session is None else session.get("_messages"),
                }
            trace["settings"] = settings_of_messages()
            RECORDER.add("messages", trace)
        trace["operations"].append(operation)

    def wrap(owner, name, make):
        setattr(owner, name, make(getattr(owner, name)))

    def on_init(original):
        def init(self, request, *args, **kwargs):
            original(self, request, *args, **kwargs)
            self._trace = {"kind": "storage", "storage": type(self).__name__, "operations": []}

        return init

    def on_fallback_init(original):
        def init(self, *args, **kwargs):
            original(self, *args, **kwargs)
            for storage in self.storages:
                storage._trace = None

        return init

    def on_add(original):
        def add(self, level, message, extra_tags=""):
            operation = {
                "add": {
                    "level": int(level),
                    "text": str(message),
                    "safe": isinstance(message, SafeData),
                    "extra_tags": extra_tags,
                }
            }
            note(self, operation)
            return original(self, level, message, extra_tags)

        return add

    def on_iter(original):
        def iterate(self):
            operation = {"read": None}
            note(self, operation)
            result = original(self)
            operation["read"] = [shown(message) for message in self._loaded_messages]
            return result

        return iterate

    def on_len(original):
        def length(self):
            operation = {"len": None}
            note(self, operation)
            operation["len"] = original(self)
            return operation["len"]

        return length

    def on_update(original):
        def update(self, response):
            operation = {"update": None}
            note(self, operation)
            inside.append(True)
            unstored = original(self, response)
            session = getattr(self.request, "session", None)
            set_cookie = [value for value in set_cookies(response) if value.startswith("messages=")]
            stored = response.cookies.get("messages")
            stored = stored.value if stored is not None and stored["max-age"] != 0 else None
            decoded = cookie.CookieStorage(self.request)._decode(stored)
            operation["update"] = {
                "set_cookie": set_cookie,
                "in_cookie": None if decoded is None else encode(decoded),
                "in_session": None if session is None else session.get("_messages"),
                "unstored": encode(unstored or []),
            }
            inside.pop()
            return unstored

        return update

    def on_encode(original):
        def encode_cookie(self, messages, encode_empty=False):
            encoded = original(self, messages, encode_empty)
            if not inside and encoded:
                case = {"kind": "encode", "messages": encode(messages), "cookie": encoded}
                RECORDER.add("messages", case)
            return encoded

        return encode_cookie

    def on_decode(original):
        def decode(self, data):
            decoded = original(self, data)
            if not inside and data:
                case = {"kind": "decode", "cookie": data, "messages": None}
                if decoded is not None:
                    case["messages"] = encode(decoded)
                    case["shown"] = [shown(message) for message in decoded]
                RECORDER.add("messages", case)
            return decoded

        return decode

    wrap(base.BaseStorage, "__init__", on_init)
    wrap(fallback.FallbackStorage, "__init__", on_fallback_init)
    wrap(base.BaseStorage, "add", on_add)
    wrap(base.BaseStorage, "__iter__", on_iter)
    wrap(base.BaseStorage, "__len__", on_len)
    wrap(base.BaseStorage, "update", on_update)
    wrap(cookie.CookieStorage, "_encode", on_encode)
    wrap(cookie.CookieStorage, "_decode", on_decode)

    level = base.BaseStorage.level

    def set_level(self, value):
        note(self, {"level": value})
        level.fset(self, value)

    base.BaseStorage.level = property(level.fget, set_level, set_level)


# CSRF


def record_csrf():
    from django.core.exceptions import DisallowedHost
    from django.middleware import csrf
    from django.views.decorators import csrf as decorators

    names = ["USE_SESSIONS", "TRUSTED_ORIGINS", "HEADER_NAME"]
    names += ["COOKIE_" + name for name in ("NAME", "AGE", "DOMAIN", "PATH", "SECURE", "HTTPONLY", "SAMESITE")]
    names = ["CSRF_" + name for name in names]
    names += ["ALLOWED_HOSTS", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT", "SESSION_COOKIE_DOMAIN", "DEBUG"]
    headers = [
        "HTTP_ORIGIN",
        "HTTP_REFERER",
        "HTTP_HOST",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PORT",
        "SERVER_NAME",
        "SERVER_PORT",
    ]

    def settings_of_csrf():
        return changed(names)

    def token_in_session(request):
        session = getattr(request, "session", None)
        return None if session is None else session.get("_csrftoken")

    def cookie(request):
        return request.COOKIES.get(settings.CSRF_COOKIE_NAME)

    def state(request):
        secret = request.META.get("CSRF_COOKIE")
        return {"secret": secret, "needs_update": bool(request.META.get("CSRF_COOKIE_NEEDS_UPDATE"))}

    Middleware = csrf.CsrfViewMiddleware

    def process_request(self, request, original=Middleware.process_request):
        case = {"kind": "begin", "settings": settings_of_csrf()}
        case |= {"cookie": cookie(request), "session": token_in_session(request), "before": state(request)}
        original(self, request)
        case["after"] = state(request)
        RECORDER.add("csrf", case)

    def process_view(self, request, callback, args, kwargs, original=Middleware.process_view):
        reasons = []
        reject = type(self)._reject

        def note(request, reason):
            reasons.append(reason)
            return reject(self, request, reason)

        done = getattr(request, "csrf_processing_done", False)
        exempt = getattr(callback, "csrf_exempt", False)
        enforced = not getattr(request, "_dont_enforce_csrf_checks", False)
        try:
            post = request.POST.get("csrfmiddlewaretoken")
        except Exception as error:
            post = {"raises": type(error).__name__}
        meta = {name: request.META[name] for name in headers if name in request.META}
        header = settings.CSRF_HEADER_NAME
        case = {"kind": "check", "settings": settings_of_csrf(), "method": request.method, "meta": meta}
        case |= {"cookie": cookie(request), "session": token_in_session(request), "post_token": post}
        case |= {"header_token": request.META.get(header), "secure": request.is_secure()}
        case |= {"done": done, "exempt": exempt, "enforced": enforced}
        try:
            case["host"] = request.get_host()
        except (DisallowedHost, KeyError):
            case["host"] = None
        self._reject = note
        try:
            answer = original(self, request, callback, args, kwargs)
        finally:
            del self._reject
        case["reason"] = reasons[0] if reasons else None
        case["status"] = answer.status_code if answer is not None else None
        RECORDER.add("csrf", case)
        return answer

    def process_response(self, request, response, original=Middleware.process_response):
        case = {"kind": "finish", "settings": settings_of_csrf(), "before": state(request)}
        case["session"] = token_in_session(request)
        there = set_cookies(response)
        result = original(self, request, response)
        case["set_cookie"] = [value for value in set_cookies(response) if value not in there]
        case |= {"vary": response.get("Vary"), "session_after": token_in_session(request)}
        case["after"] = state(request)
        RECORDER.add("csrf", case)
        return result

    Middleware.process_request = process_request
    Middleware.process_view = process_view
    Middleware.process_response = process_response

    def wrap(name, make):
        wrapped = make(getattr(csrf, name))
        setattr(csrf, name, wrapped)
        for module in list(sys.modules.values()):
            if module is not None and getattr(module, name, None) is wrapped.original:
                setattr(module, name, wrapped)

    def recorded(kind, fields):
        def make(original):
            def function(*arguments):
                outcome = {}
                try:
                    outcome["result"] = result = original(*arguments)
                except csrf.InvalidTokenFormat as error:
                    outcome["invalid"] = error.reason
                    raise
                except AssertionError:
                    return original(*arguments)
                finally:
                    if outcome and "test_" in sys._getframe(1).f_code.co_name:
                        RECORDER.add("csrf", {"kind": kind} | dict(zip(fields, arguments)) | outcome)
                return result

            function.original = original
            return function

        return make

    def requested(kind):
        def make(original):
            def function(request):
                case = {"kind": kind, "before": state(request)}
                case["result"] = result = original(request)
                case["after"] = state(request)
                RECORDER.add("csrf", case)
                return result

            function.original = original
            return function

        return make

    wrap("_unmask_cipher_token", recorded("unmask", ["token"]))
    wrap("_mask_cipher_secret", recorded("mask", ["secret"]))
    wrap("_check_token_format", recorded("format", ["token"]))
    wrap("_does_token_match", recorded("match", ["token", "secret"]))
    wrap("get_token", requested("get_token"))
    wrap("rotate_token", requested("rotate_token"))
    assert decorators.CsrfViewMiddleware is Middleware


def main():
    tests, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    sys.path.insert(0, str(tests))
    os.environ["RUNNING_DJANGOS_TEST_SUITE"] = "true"
    settings.configure(
        SECRET_KEY=SECRET,
        ROOT_URLCONF="urls",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "django.contrib.messages",
            "csrf_tests",
            "messages_tests",
        ],
        MIDDLEWARE=MIDDLEWARE,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [str(tests / "templates")],
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=False,
    )
    django.setup()
    record_messages()
    record_csrf()

    from django.test import SimpleTestCase, TestCase
    from django.test.runner import DiscoverRunner
    from unittest import TestCase as Plain

    for owner in (SimpleTestCase, Plain):

        def call(self, result=None, original=owner.__call__):
            RECORDER.begin(self)
            try:
                return original(self, result)
            finally:
                RECORDER.test = None

        if owner is Plain or "__call__" in vars(owner):
            owner.__call__ = call
    failures = DiscoverRunner(verbosity=1, top_level=str(tests)).run_tests(["csrf_tests", "messages_tests"])

    unnamed = [test for test, count in RECORDER.tests.items() if count == 0]
    skipped = {test: NOT_TRANSFERABLE.get(test.rsplit(".", 1)[1]) for test in unnamed}
    unknown = [test for test, reason in skipped.items() if reason is None]
    for name in ("csrf", "messages"):
        path = output / f"{name}.json"
        there = json.loads(path.read_text()) if path.exists() else []
        for test, reason in skipped.items():
            if test.startswith(name + "_tests"):
                case = {"id": test, "django_version": django.get_version(), "kind": "not_transferable"}
                RECORDER.cases[name].append(case | {"note": reason})
        lines = [json.dumps(case, default=str) for case in there + RECORDER.cases[name]]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{name}: {len(RECORDER.cases[name])} cases, {sum(t.startswith(name) for t in RECORDER.tests)} tests")
    print("nothing recorded, and no reason given:", *unknown, sep="\n  ")
    sys.exit(bool(failures or unknown))


if __name__ == "__main__":
    main()
