"""The site of the tests as an application for gunicorn and uvicorn."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

wsgi = get_wsgi_application()
asgi = get_asgi_application()
