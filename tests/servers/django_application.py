"""Django: settings, one view, and the WSGI application."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

from tests.servers import probe

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["stomp_web.django"],
    STOMP={"default": {"OPTIONS": {"url": os.environ["STOMP_TEST_URL"]}}},
)
django.setup()

from stomp_web.django import publisher  # noqa: E402 - it needs the settings


@require_POST
def view(request, number):
    return HttpResponse(probe.answer(number, publisher), status=202, content_type="application/json")


urlpatterns = [path("<number>", view)]
application = get_wsgi_application()
publisher.send(probe.LOADED, "by the module")
