"""Makes the pictures of the panels for the documentation: ``python -m tests.panels.screenshots``."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import types
import typing
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import flask
from django.conf import settings

from stomp_web import Rejected
from stomp_web.broker import Broker
from stomp_web.flask import Stomp
from tests.broker_page.chromium import Chromium, find_chromium

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from wsgiref.types import WSGIApplication

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1280, 480)
PAGE = """<!doctype html>
<html><head><title>Shop</title><link rel="icon" href="data:,"></head><body><h1>Thank you.</h1></body></html>"""


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(application: WSGIApplication) -> Iterator[str]:
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/order"
        finally:
            server.shutdown()
            thread.join()


def place_order(broker: Broker, send: Callable[..., object], send_many: Callable[..., object]) -> None:
    """Send what a shop sends for one order. The broker refuses one of the messages."""
    send("/queue/orders", {"id": 7, "customer": "Ada", "total": "12.50", "items": ["tea", "cup"]})
    send_many([("/topic/orders.new", {"id": 7}), ("/queue/mails", {"to": "ada@example.com", "order": 7})])
    broker.faults.error("SEND", "Access refused", "no permission for /queue/audit")
    with contextlib.suppress(Rejected):
        send("/queue/audit", {"id": 7, "at": "2026-11-29T08:30:00Z"})


def django_site(broker: Broker, folder: str) -> WSGIApplication:
    import django

    settings.configure(
        DEBUG=True,
        SECRET_KEY="screenshots",
        ALLOWED_HOSTS=["127.0.0.1"],
        INTERNAL_IPS=["127.0.0.1"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/shop.sqlite3"}},
        INSTALLED_APPS=[
            *("django.contrib.contenttypes", "django.contrib.staticfiles"),
            *("debug_toolbar", "stomp_web.django", "stomp_web.django.outbox"),
        ],
        MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
        DEBUG_TOOLBAR_PANELS=[
            *(f"debug_toolbar.panels.{name}" for name in ("timer.TimerPanel", "headers.HeadersPanel", "sql.SQLPanel")),
            "stomp_web.django.debug_toolbar.StompPanel",
        ],
        ROOT_URLCONF=types.ModuleType("urls"),
        STATIC_URL="static/",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        STOMP={"default": {"OPTIONS": {"url": broker.url}}},
    )
    django.setup()
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.db import transaction
    from django.http import HttpResponse
    from django.urls import include, path

    from stomp_web.django import publisher, send

    @transaction.atomic
    def order(request: object) -> HttpResponse:
        place_order(broker, publisher.send, publisher.send_many)
        send("/queue/bills", {"order": 7}, outbox=True)
        return HttpResponse(PAGE)

    settings.ROOT_URLCONF.urlpatterns = [path("order", order), path("__debug__/", include("debug_toolbar.urls"))]
    call_command("migrate", verbosity=0)
    publisher.check()  # opens the connection
    return StaticFilesHandler(get_wsgi_application())


def flask_site(broker: Broker) -> flask.Flask:
    from flask_debugtoolbar import DebugToolbarExtension

    app = flask.Flask("shop")
    app.config.update(
        STOMP_URL=broker.url,
        SECRET_KEY="screenshots",
        DEBUG_TB_ENABLED=True,
        DEBUG_TB_PANELS=[
            *(f"flask_debugtoolbar.panels.{name}DebugPanel" for name in ("timer.Timer", "headers.Header")),
            "stomp_web.flask.debug_toolbar.StompPanel",
        ],
    )
    stomp = Stomp(app)
    DebugToolbarExtension(app)
    app.extensions["stomp"].check()

    @app.get("/order")
    def order() -> str:
        place_order(broker, stomp.send, stomp.send_many)
        return PAGE

    return app


def main(folder: Path = IMAGES) -> int:
    """Write debug-toolbar-NAME.png into *folder*."""
    path = find_chromium()
    if path is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with Broker() as broker, Chromium(path) as browser, tempfile.TemporaryDirectory() as temporary:
        browser.show(*SIZE)
        with serving(django_site(broker, temporary)) as url:
            browser.open(url)
            browser.wait("document.querySelector('#djDebugRoot')?.shadowRoot?.querySelector('.StompPanel')")
            inside = "document.querySelector('#djDebugRoot').shadowRoot"
            browser.wait(f"{inside}.querySelector('.StompPanel').getBoundingClientRect().width > 0")
            browser.run(f"{inside}.querySelector('.StompPanel').click()")
            browser.wait(f"{inside}.querySelectorAll('#StompPanel tbody tr').length == 5")
            (folder / "debug-toolbar-django.png").write_bytes(browser.screenshot())
        with serving(flask_site(broker)) as url:
            browser.open(url)
            browser.wait("document.querySelector('.flDebugSTOMPPanel')?.getBoundingClientRect().width > 0")
            browser.run("document.querySelector('.flDebugSTOMPPanel').click()")
            browser.wait("document.querySelector('#flDebugSTOMPPanel-content')?.getBoundingClientRect().width > 0")
            (folder / "debug-toolbar-flask.png").write_bytes(browser.screenshot())
        print(browser.problems or "no problems in the console")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES))
