"""`StompPanel` in django-debug-toolbar: real requests through its middleware, and its own view for the panel."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("debug_toolbar", reason="the tests of the panel need: pip install django-debug-toolbar")

from django.core.checks.registry import registry
from django.test import AsyncClient, Client, override_settings

from stomp_web.django import publisher, publishers
from stomp_web.django.outbox.models import OutboxMessage
from stomp_web.observers import installers
from stomp_web.panels.collector import collector
from tests.panels.table import rows_in
from tests.wsgi.helpers import in_threads, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker

PATIENCE = 60.0
STORED = (
    "in the outbox A relay sends it after the commit. Nothing is stored if the call failed or the transaction is "
    "rolled back."
)
PANEL = "stomp_web.django.debug_toolbar.StompPanel"
APPS = ["django.contrib.contenttypes", "django.contrib.staticfiles", "debug_toolbar"]
OUR_APPS = ["stomp_web.django", "stomp_web.django.outbox", "tests.django.shop"]
SETTINGS = {
    "DEBUG": True,
    "INTERNAL_IPS": ["127.0.0.1"],
    "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
    "DEBUG_TOOLBAR_PANELS": [PANEL],
    "ROOT_URLCONF": "tests.django.debugged",
    "STATIC_URL": "static/",
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
}


@pytest.fixture(autouse=True)
def toolbar() -> Iterator[None]:
    """The project with the toolbar. Afterwards, nothing observes new publishers, and the toolbar checks nothing."""
    before, checks = list(installers), set(registry.registered_checks)
    with override_settings(**SETTINGS), override_settings(INSTALLED_APPS=APPS + OUR_APPS):  # the app reads the settings
        yield
        OutboxMessage.objects.all().delete()
    installers[:] = before
    registry.registered_checks.intersection_update(checks)


def subtitle_in(page: str) -> str:
    found = re.search(r'<li id="djdt-StompPanel".*?<small>(.*?)</small>', page, re.DOTALL)
    assert found, page
    return found[1]


def content_of(page: str) -> str:
    """What the toolbar's JavaScript loads when the panel is opened."""
    request_id = re.search(r'data-request-id="(\w+)"', page)
    assert request_id, page
    answer = Client().get("/__debug__/render_panel/", {"request_id": request_id[1], "panel_id": "StompPanel"})
    return answer.json()["content"]


def rows_of(page: str) -> list[list[str]]:
    return rows_in(content_of(page))


def get(where: str, **options: object) -> str:
    return Client(**options).get(where).content.decode()


class TestRequests:
    def test_the_messages_of_all_publishers_are_in_the_panel(self):
        page = get("/three")
        assert re.fullmatch(r"3 messages in [\d.,]+ ms", subtitle_in(page))
        orders, audit, own = rows_of(page)
        assert orders[:2] == ["/queue/orders", "confirmed"]
        assert re.fullmatch(r"[\d.]+", orders[2])
        assert orders[3:] == ["8", publisher.outbox[0].id]
        assert own[0] == "/queue/own"
        assert audit[3:] == ["1,234", "<script>alert(1)</script>"]

    def test_values_are_escaped(self):
        content = content_of(get("/three"))
        assert "/topic/&lt;b&gt;audit&lt;/b&gt;" in content
        assert "&lt;script&gt;" in content
        assert "<b>" not in content
        assert "<script" not in content

    def test_one_message_and_none(self):
        assert re.fullmatch(r"1 message in [\d.,]+ ms", subtitle_in(get("/one")))
        page = get("/none")
        assert subtitle_in(page) == "no messages"
        assert "The request has sent no messages." in content_of(page)

    def test_the_response_tells_the_time_to_the_browser(self):
        header = Client().get("/one").headers["Server-Timing"]
        assert re.search(r'StompPanel_time;dur=[\d.]+;desc="STOMP: 1 message in [\d.]+ ms"', header)

    def test_a_real_broker_confirms(self, broker_settings: Broker):
        (row,) = rows_of(get("/one"))
        assert row[1] == "confirmed"
        assert row[4] == broker_settings.messages("/queue/orders")[0].headers["x-message-id"]

    def test_a_message_that_the_broker_refuses(self, broker_settings: Broker):
        broker_settings.faults.error("SEND", "Access <refused>")
        page = get("/failing")
        assert re.fullmatch(r"1 message in [\d.,]+ ms, 1 failed", subtitle_in(page))
        (row,) = rows_of(page)
        assert row[1].startswith("rejected Rejected: /queue/orders: ")
        assert "Access <refused>" in row[1]
        assert "Access &lt;refused&gt;" in content_of(page)

    def test_a_broker_that_is_away(self, broker_settings: Broker):
        broker_settings.stop()
        (row,) = rows_of(get("/failing"))
        assert row[1].startswith("not sent BrokerUnavailable: ")

    def test_a_view_that_crashes(self):
        page = get("/crashing", raise_request_exception=False)
        assert "a bug of the shop" in page
        assert [row[0] for row in rows_of(page)] == ["/queue/orders"]
        assert not collector.listens()

    def test_a_response_without_html_is_in_the_history(self):
        from debug_toolbar.toolbar import DebugToolbar

        seen = []

        def note(sender, toolbar, **_):
            seen.append(toolbar)

        DebugToolbar._created.connect(note)
        try:
            assert Client().get("/interface").content == b"{}"
        finally:
            DebugToolbar._created.disconnect(note)
        (used,) = seen
        assert "/queue/orders" in content_of(f'data-request-id="{used.request_id}"')

    def test_a_stored_panel_that_is_gone_is_empty(self):
        page = get("/one")
        from debug_toolbar.store import get_store

        get_store().clear()
        assert "isn&#x27;t available anymore" in content_of(page)


class TestTransactions:
    def test_messages_after_the_commit(self):
        page = get("/commits")
        rows = {row[0]: row for row in rows_of(page)}
        assert rows["/queue/after"][1] == rows["/queue/at-once"][1] == "confirmed"
        assert rows["/queue/never"][1] == "not sent yet The transaction was rolled back, or is still open."
        assert rows["/queue/never"][2] == ""
        assert re.fullmatch(r"3 messages in [\d.,]+ ms", subtitle_in(page))

    def test_a_message_in_the_outbox(self):
        page = get("/stores")
        ((destination, outcome, time, size, _),) = rows_of(page)
        assert (destination, time, size) == ("/queue/stored", "", "1")
        assert outcome == STORED
        assert subtitle_in(page) == "1 message"

    def test_a_message_that_was_rolled_back_with_its_transaction(self):
        """The panel cannot know of the rollback. So its note does not say that the message is stored."""
        ((destination, outcome, *_),) = rows_of(get("/rolls_back"))
        assert (destination, outcome) == ("/queue/stored", STORED)
        assert OutboxMessage.objects.count() == 0

    def test_a_message_that_the_outbox_has_refused_is_not_in_the_panel(self):
        page = get("/stores_nothing")
        assert subtitle_in(page) == "no messages"
        assert OutboxMessage.objects.count() == 0

    def test_a_message_in_the_outbox_that_the_request_itself_sends(self):
        stomp = {"default": {"OPTIONS": {"url": "memory://"}, "OUTBOX": {"relay": "inline"}}}
        with override_settings(STOMP=stomp):
            ((destination, outcome, time, *_),) = rows_of(get("/stores"))
        assert (destination, outcome) == ("/queue/stored", "confirmed")
        assert time

    def test_a_message_that_stays_in_the_outbox(self, local_broker: Broker):
        stomp = {"default": {"OPTIONS": {"url": local_broker.url}, "OUTBOX": {"relay": "inline"}}}
        local_broker.faults.error("SEND", "Not now")
        with override_settings(STOMP=stomp):
            ((_, outcome, *_),) = rows_of(get("/stores"))
        assert outcome.startswith("rejected Rejected: ")
        assert outcome.endswith(" It stays in the outbox.")


class TestSeveralRequests:
    def test_two_in_threads_do_not_mix(self, broker_settings: Broker):
        pages = in_threads(2, lambda number: get(f"/together/{number}"))
        for number, page in enumerate(pages):
            assert [row[0] for row in rows_of(page)] == [f"/queue/{number}"] * 5

    def test_two_in_one_event_loop_do_not_mix(self, broker_settings: Broker):
        async def page(name):
            answer = await AsyncClient().get(f"/in-an-event-loop/{name}")
            return answer.content.decode()

        async def main():
            return await asyncio.wait_for(asyncio.gather(page("a"), page("b")), PATIENCE)

        for name, each in zip("ab", asyncio.run(main()), strict=True):
            assert [row[:2] for row in rows_of(each)] == [[f"/queue/{name}", "confirmed"]] * 4

    def test_without_a_request_nothing_is_recorded(self):
        get("/one")
        publisher.send("/queue/shell", 1)
        assert not collector.listens()
        assert len(rows_of(get("/one"))) == 1

    def test_a_publisher_that_is_older_than_the_panel(self):
        installers.clear()
        publishers.close_all()
        assert collector not in publishers["default"].observers.known
        assert len(rows_of(get("/one"))) == 1


class TestUse:
    def test_a_panel_that_is_switched_off_records_nothing(self):
        client = Client()
        client.cookies["djdtStompPanel"] = "off"
        page = client.get("/listens").content.decode()
        assert "<small>" not in page
        assert "listens: False" in page
        assert "listens: True" in get("/listens")

    def test_a_site_without_the_panel_loads_nothing_of_it(self):
        done = run_python(
            "-c",
            "import sys, tests.django.project as project; project.set_up()\n"
            "from stomp_web.django import send; send('/queue/a', 1)\n"
            "print([each for each in sys.modules if 'panels' in each or 'toolbar' in each])",
        )
        assert done.stdout == "[]\n"

    def test_without_the_toolbar_the_import_says_what_to_install(self):
        done = run_python(
            "-c",
            "import sys; sys.modules['debug_toolbar'] = None\n"
            "import tests.django.project as project; project.set_up()\n"
            "import stomp_web.django.debug_toolbar",
        )
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == (
            "ImportError: stomp_web.django.debug_toolbar needs django-debug-toolbar, which is not installed: "
            "pip install django-debug-toolbar"
        )

    def test_the_app_is_not_needed_in_installed_apps(self):
        with override_settings(INSTALLED_APPS=APPS):
            assert [row[0] for row in rows_of(get("/one"))] == ["/queue/orders"]
