"""A Django site that shares its sessions with the axum site of the test.

    python manage.py migrate
    python manage.py createcachetable
    python manage.py create-user NAME PASSWORD
    python manage.py evaluate CODE   prints what the code leaves in `result`, as JSON
    python manage.py serve     prints its address; ends when its standard input does
"""

import json
import os
import sys
import threading

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402


def serve():
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    # The test holds the other end, so that no server outlives it.
    sys.stdin.read()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["migrate"]:
            # The session model of its own has no migrations.
            call_command("migrate", verbosity=0, run_syncdb=True)
        case ["createcachetable"]:
            call_command("createcachetable", verbosity=0)
        case ["create-user", name, password]:
            get_user_model().objects.create_superuser(name, password=password)
        case ["evaluate", code]:
            variables = {"User": get_user_model()}
            exec(code, variables)
            print(json.dumps(variables.get("result")))
        case ["serve"]:
            serve()
