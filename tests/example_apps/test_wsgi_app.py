"""The WSGI example keeps the rules of PEP 3333."""

from __future__ import annotations

from pathlib import Path

from example_apps.wsgi_app import create_app
from stomp_web.broker import Broker
from tests.wsgi.browser import Browser


def test_it_keeps_the_rules_of_wsgi_also_below_another_path(tmp_path: Path) -> None:
    with Broker() as broker:
        app = create_app(broker.url, tmp_path / "orders.sqlite3")
        browser = Browser(app, lint=True, extra_environ={"SCRIPT_NAME": "/shop"})
        page = browser.get("/")
        form = page.form
        form["customer"] = "Ada"
        answer = form.submit()
        assert answer.status_int == 303
        assert answer.location.endswith("/shop/?order=1")
        assert len(broker.messages("/queue/orders")) == 1
        assert browser.head("/").body == b""
        app.close()  # type: ignore[attr-defined]


def test_a_body_that_is_no_form_is_refused(tmp_path: Path) -> None:
    browser = Browser(create_app("memory://", tmp_path / "orders.sqlite3"))
    for body in (b"", b"\xff\x00", b"&" * 9000, b"a=1&" * 2000, b"customer=" + b"x" * 100_000):
        assert browser.post("/orders", body, status=400)
