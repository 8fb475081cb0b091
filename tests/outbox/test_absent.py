"""Who does not use the outbox neither loads nor gets anything of it."""

from __future__ import annotations

import importlib.util

import pytest

from tests.wsgi.helpers import run_python

LOADED = (
    "import sys\n"
    "tops = ('stomp_web.outbox', 'stomp_web.django.outbox', 'stomp_web.flask.outbox', 'stomp_web.sqlalchemy')\n"
    "print([name for name in sys.modules if name.startswith(tops)])\n"
)

PUBLISHER = """
from stomp_web import Publisher
with Publisher("memory://") as publisher:
    publisher.send("/queue/a", 1)
"""

WSGI = """
from stomp_web.wsgi import StompMiddleware, get_publisher
def application(environ, start_response):
    get_publisher(environ).send("/queue/a", 1)
    start_response("200 OK", [])
    return [b""]
list(StompMiddleware(application, url="memory://")({}, lambda *_: None))
"""

FLASK = """
from flask import Flask
from stomp_web.flask import Stomp
app = Flask("shop")
app.config["STOMP_URL"] = "memory://"
stomp = Stomp(app)
with app.app_context():
    stomp.send("/queue/a", 1)
app.extensions["stomp"].send("/queue/a", 1)
"""

DJANGO = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["stomp_web.django"],
    STOMP={"default": {"OPTIONS": {"url": "memory://"}}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
from stomp_web.django import send
send("/queue/a", 1)
with transaction.atomic():
    send("/queue/a", 1, on_commit=True)
call_command("check")
"""


def output_of(script: str) -> list[str]:
    done = run_python("-c", script)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "needs"),
    [(PUBLISHER, ()), (WSGI, ()), (FLASK, ("flask",)), (DJANGO, ("django",))],
    ids=["publisher", "wsgi", "flask", "django"],
)
def test_nothing_of_it_is_loaded(script: str, needs: tuple[str, ...]):
    skip_without(*needs)
    assert output_of(script + LOADED)[-1] == "[]"


def test_django_makes_no_table():
    skip_without("django")
    tables = "call_command('migrate', run_syncdb=True, verbosity=0)\nprint(connection.introspection.table_names())\n"
    assert output_of(DJANGO + tables)[-1] == "[]"


def test_flask_sqlalchemy_makes_no_table():
    skip_without("flask", "flask_sqlalchemy")
    tables = (
        "from flask_sqlalchemy import SQLAlchemy\n"
        "app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite://'\n"
        "db = SQLAlchemy(app)\n"
        "with app.app_context():\n"
        "    db.create_all()\n"
        "    stomp.send('/queue/a', 1)\n"
        "print(list(db.metadata.tables))\n"
    )
    *_, tables_there, loaded = output_of(FLASK + tables + LOADED)
    assert (tables_there, loaded) == ("[]", "[]")


def skip_without(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
