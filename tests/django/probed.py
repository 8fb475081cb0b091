"""The project for real servers, with the views that answer probes."""

from __future__ import annotations

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.settings"

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from stomp_web.django.health import health_urls

settings.ROOT_URLCONF = __name__
urlpatterns = health_urls()

application = get_wsgi_application()
