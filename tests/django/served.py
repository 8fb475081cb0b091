"""The project for real servers."""

from __future__ import annotations

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
