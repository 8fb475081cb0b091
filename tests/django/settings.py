"""Settings of the project that the tests look at."""

from __future__ import annotations

import os

SECRET_KEY = "tests"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.django.shop.urls"
INSTALLED_APPS = ["stomp_web.django", "stomp_web.django.outbox", "tests.django.shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
STOMP = {
    "default": {"OPTIONS": {"url": os.environ.get("STOMP_TEST_URL", "memory://")}},
    "audit": {"OPTIONS": {"url": os.environ.get("STOMP_TEST_URL", "memory://"), "serializer": "pickle"}},
}
