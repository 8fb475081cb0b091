"""Settings of the project that the tests look at."""

from __future__ import annotations

import json
import os
from typing import Any


def database(text: str) -> dict[str, Any]:
    """The entry of DATABASES in *text*, which is JSON, with its driver."""
    entry: dict[str, Any] = json.loads(text)
    if entry["ENGINE"].endswith(".mysql"):
        import pymysql

        pymysql.install_as_MySQLdb()  # Django imports MySQLdb, see tests/django/mariadb.py
    return entry


SECRET_KEY = "tests"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.django.shop.urls"
INSTALLED_APPS = ["stomp_web.django", "stomp_web.django.outbox", "tests.django.shop"]
DATABASES = {
    # The variable is for a run of these tests on a server of a database, see test_outbox_databases.py.
    "default": database(
        os.environ.get("STOMP_TEST_DATABASE", '{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}')
    ),
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
STOMP = {
    "default": {"OPTIONS": {"url": os.environ.get("STOMP_TEST_URL", "memory://")}},
    "audit": {"OPTIONS": {"url": os.environ.get("STOMP_TEST_URL", "memory://"), "serializer": "pickle"}},
}
