"""`StompPanel` in Flask-DebugToolbar: real requests to an app that has the real extension."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING

import flask
import pytest

pytest.importorskip("flask_debugtoolbar", reason="the tests of the panel need: pip install flask-debugtoolbar")

from flask_debugtoolbar import DebugToolbarExtension

from stomp_web import NotSent, Publisher, Rejected
from stomp_web.flask import Stomp
from stomp_web.observers import installers
from stomp_web.panels.collector import collector
from tests.panels.table import rows_in
from tests.wsgi.helpers import in_threads, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker

PATIENCE = 60.0
PAGE = "<html><body><h1>Thank you</h1></body></html>"

_apps: list[flask.Flask] = []


@pytest.fixture(autouse=True)
def made() -> Iterator[None]:
    """Close the publishers of the test's apps at its end."""
    before = list(installers)
    yield
    installers[:] = before
    for app in _apps:
        for key in ("stomp", "audit_stomp"):
            if key in app.extensions:
                app.extensions[key].close()
    _apps.clear()


def create_app(url: str = "memory://", toolbar_first: bool = False, **config: object) -> flask.Flask:
    app = flask.Flask("shop")
    _apps.append(app)
    app.config.update(
        STOMP_URL=url,
        AUDIT_STOMP_URL="memory://",
        SECRET_KEY="secret",
        DEBUG_TB_ENABLED=True,
        DEBUG_TB_PANELS=["stomp_web.flask.debug_toolbar.StompPanel"],
        **config,
    )
    if toolbar_first:
        DebugToolbarExtension(app)
    stomp = Stomp(app)
    audit = Stomp(app, config_prefix="AUDIT_STOMP")
    if not toolbar_first:
        DebugToolbarExtension(app)
    both = threading.Barrier(2)

    @app.get("/three")
    def three():
        stomp.send("/queue/orders", {"id": 7})
        headers = {"x-message-id": "<script>alert(1)</script>"}
        audit.send("/topic/<b>audit</b>", "x" * 1234, headers, serializer="text")
        Publisher("memory://").send("/queue/own", 1)
        return PAGE

    @app.get("/one")
    def one():
        stomp.send("/queue/orders", 1)
        return PAGE

    @app.get("/none")
    def none():
        return PAGE

    @app.get("/failing")
    def failing():
        with pytest.raises((Rejected, NotSent)):
            stomp.send("/queue/orders", 1, timeout=PATIENCE)
        return PAGE

    @app.get("/crashing")
    def crashing():
        stomp.send("/queue/orders", 1)
        raise RuntimeError("a bug of the shop")

    @app.get("/interface")
    def interface():
        stomp.send("/queue/orders", 1)
        return {}

    @app.get("/redirect")
    def redirect():
        stomp.send("/queue/orders", 1)
        return flask.redirect("/none")

    @app.get("/together/<name>")
    def together(name):
        for _ in range(5):
            both.wait(PATIENCE)
            stomp.send(f"/queue/{name}", 1)
        return PAGE

    @app.get("/event-loop")
    def in_an_event_loop():  # Flask-DebugToolbar 0.16 has no support for async views
        async def send_three():
            await asyncio.gather(*(stomp.asend("/queue/orders", number) for number in range(3)))

        asyncio.run(send_three())
        return PAGE

    @app.get("/inside")
    def inside():
        stomp.send("/queue/outer", 1)
        ((destination, *_),) = rows_of(get(app, "/one"))
        return f"<html><body><!-- {destination} --></body></html>"

    @app.get("/copied")
    def copied():
        @flask.copy_current_request_context
        def work():
            return flask.request.path

        assert in_threads(1, lambda _: work()) == ["/copied"]
        stomp.send("/queue/orders", 1)
        return PAGE

    @app.get("/again")
    def again():
        with app.request_context(flask.request.environ):
            stomp.send("/queue/inside", 1)
        stomp.send("/queue/after", 1)
        return PAGE

    return app


def get(app: flask.Flask, where: str) -> str:
    return app.test_client().get(where).get_data(as_text=True)


def subtitle_in(page: str) -> str:
    found = re.search(r'<li id="flDebugSTOMPPanel">.*?<small>(.*?)</small>', page, re.DOTALL)
    assert found, page
    return found[1]


def content_of(page: str) -> str:
    found = re.search(r'<div class="flDebugScroll">(.*?)</div>', page, re.DOTALL)
    assert found, page
    return found[1]


def rows_of(page: str) -> list[list[str]]:
    return rows_in(content_of(page))


class TestRequests:
    @pytest.mark.parametrize("toolbar_first", [True, False])
    def test_the_messages_of_all_publishers_are_in_the_panel(self, toolbar_first):
        app = create_app(toolbar_first=toolbar_first)
        page = get(app, "/three")
        assert re.fullmatch(r"3 messages in [\d.,]+ ms", subtitle_in(page))
        orders, audit, own = rows_of(page)
        assert orders[:2] == ["/queue/orders", "confirmed"]
        assert re.fullmatch(r"[\d.]+", orders[2])
        assert orders[3:] == ["8", app.extensions["stomp"].outbox[0].id]
        assert own[0] == "/queue/own"
        assert audit[3:] == ["1,234", "<script>alert(1)</script>"]
        assert ">STOMP messages<" in page

    def test_values_are_escaped(self):
        content = content_of(get(create_app(), "/three"))
        assert "/topic/&lt;b&gt;audit&lt;/b&gt;" in content
        assert "&lt;script&gt;" in content
        assert "<b>" not in content
        assert "<script" not in content

    def test_one_message_and_none(self):
        app = create_app()
        assert re.fullmatch(r"1 message in [\d.,]+ ms", subtitle_in(get(app, "/one")))
        page = get(app, "/none")
        assert subtitle_in(page) == "no messages"
        assert "The request has sent no messages." in content_of(page)

    def test_a_real_broker_confirms(self, local_broker: Broker):
        (row,) = rows_of(get(create_app(local_broker.url), "/one"))
        assert row[1] == "confirmed"
        assert row[4] == local_broker.messages("/queue/orders")[0].headers["x-message-id"]

    def test_a_message_that_the_broker_refuses(self, local_broker: Broker):
        local_broker.faults.error("SEND", "Access <refused>")
        page = get(create_app(local_broker.url), "/failing")
        assert re.fullmatch(r"1 message in [\d.,]+ ms, 1 failed", subtitle_in(page))
        (row,) = rows_of(page)
        assert row[1].startswith("rejected Rejected: /queue/orders: ")
        assert "Access <refused>" in row[1]
        assert "Access &lt;refused&gt;" in content_of(page)

    def test_a_broker_that_is_away(self, local_broker: Broker):
        app = create_app(local_broker.url)
        local_broker.stop()
        (row,) = rows_of(get(app, "/failing"))
        assert row[1].startswith("not sent BrokerUnavailable: ")

    def test_a_redirect_that_the_toolbar_has_intercepted(self):
        assert len(rows_of(get(create_app(), "/redirect"))) == 1

    def test_messages_that_an_event_loop_sends(self, local_broker: Broker):
        rows = rows_of(get(create_app(local_broker.url), "/event-loop"))
        assert [row[:2] for row in rows] == [["/queue/orders", "confirmed"]] * 3


class TestSeveralRequests:
    def test_two_in_threads_do_not_mix(self, local_broker: Broker):
        app = create_app(local_broker.url)
        pages = in_threads(2, lambda number: get(app, f"/together/{number}"))
        for number, page in enumerate(pages):
            assert [row[0] for row in rows_of(page)] == [f"/queue/{number}"] * 5

    def test_one_inside_of_another_one(self):
        """The outer response has no toolbar: Flask-DebugToolbar 0.16 forgets the outer request."""
        assert "<!-- /queue/orders -->" in get(create_app(), "/inside")
        assert not collector.listens()

    def test_a_copy_of_the_request_context_that_ends_before_the_request(self):
        assert [row[0] for row in rows_of(get(create_app(), "/copied"))] == ["/queue/orders"]
        assert not collector.listens()

    def test_a_second_context_of_the_same_request(self):
        assert [row[0] for row in rows_of(get(create_app(), "/again"))] == ["/queue/inside", "/queue/after"]
        assert not collector.listens()

    def test_a_request_whose_teardown_has_failed_ends_with_the_next_request(self):
        app = create_app()
        left = [KeyError("a bug of the shop")]

        @app.teardown_request
        def fail_once(_error):
            if left:
                raise left.pop()

        with pytest.raises(KeyError, match="a bug of the shop"):
            get(app, "/one")
        assert len(rows_of(get(app, "/one"))) == 1
        assert not collector.listens()

    @pytest.mark.parametrize("path", ["/one", "/interface", "/redirect", "/crashing", "/unknown"])
    def test_after_a_request_nothing_is_recorded(self, path):
        app = create_app(DEBUG_TB_INTERCEPT_REDIRECTS=False)
        get(app, path)
        assert not collector.listens()
        app.extensions["stomp"].send("/queue/shell", 1)
        assert len(rows_of(get(app, "/one"))) == 1

    def test_a_request_that_does_not_show_the_toolbar(self):
        app = create_app(DEBUG_TB_HOSTS=["192.0.2.1"])
        assert get(app, "/one") == PAGE
        assert not collector.listens()


class TestUse:
    def test_an_app_without_the_panel_loads_nothing_of_it(self):
        done = run_python(
            "-c",
            "import sys, flask; from stomp_web.flask import Stomp\n"
            "app = flask.Flask('shop'); app.config['STOMP_URL'] = 'memory://'\n"
            "Stomp(app); app.extensions['stomp'].send('/queue/a', 1)\n"
            "print([each for each in sys.modules if 'panels' in each or 'toolbar' in each])",
        )
        assert done.stdout == "[]\n"

    def test_without_the_toolbar_the_import_says_what_to_install(self):
        done = run_python(
            "-c", "import sys; sys.modules['flask_debugtoolbar'] = None\nimport stomp_web.flask.debug_toolbar"
        )
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == (
            "ImportError: stomp_web.flask.debug_toolbar needs Flask-DebugToolbar, which is not installed: "
            "pip install flask-debugtoolbar"
        )
