"""For a WSGI server: ``gunicorn example_apps.django_app.wsgi``, after ``python -m example_apps.django_app migrate``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_apps.django_app.settings")

application = get_wsgi_application()
