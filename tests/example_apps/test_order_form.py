"""What a customer sees, and what a receiver gets: the same of each example, over HTTP, under a real server."""

from __future__ import annotations

import datetime
import json
import pickle
import re

import pytest

from stomp_web.broker import Broker
from tests.client.scripted import eventually
from tests.example_apps.sites import NAMES, Site, discard_unsent, lack

ORDERS, AUDIT = "/queue/orders", "/queue/audit"


@pytest.mark.parametrize("name", NAMES)
def test_the_example_can_be_tested_here(name: str) -> None:
    """So that a missing framework is one skipped test, and not all of those below."""
    if lack(name):
        pytest.skip(f"the {name} example is left out: {lack(name)} is not installed")


def test_an_order_is_stored_announced_and_confirmed(site: Site, broker: Broker) -> None:
    page = site.order("Ada Lovelace", "Espresso beans, 250 g", "2")
    assert page.status == 200
    assert "Thank you, Ada Lovelace!" in page.notice
    assert "saved and announced" in page.notice
    assert "confirmed" in page.newest
    assert "2 × Espresso beans, 250 g" in page.newest
    assert "17.80 €" in page.newest
    [message] = broker.messages(ORDERS)
    assert message.headers["x-message-id"] in page.newest


def test_receivers_get_the_order_as_json_and_the_audit_entry_pickled(site: Site, broker: Broker) -> None:
    site.order("Zoë", "Green tea, 100 g", "3")
    [order], [audit] = broker.messages(ORDERS), broker.messages(AUDIT)
    payload = json.loads(order.body)
    assert order.headers["content-type"] == "application/json"
    assert payload["customer"] == "Zoë"
    assert (payload["item"], payload["quantity"], payload["total"]) == ("Green tea, 100 g", 3, "19.20")
    assert datetime.datetime.fromisoformat(payload["placed_at"].replace("Z", "+00:00")).tzinfo is not None
    entry = pickle.loads(audit.body)
    assert entry["order"] == payload["id"]
    assert isinstance(entry["at"], datetime.datetime)
    assert audit.headers["x-message-id"] == order.headers["x-message-id"] + "-audit"


def test_html_that_somebody_types_is_shown_as_text(site: Site, broker: Broker) -> None:
    name = '<script>alert("1")</script>\'&'
    page = site.order(name)
    assert name in page.newest
    assert name in page.notice
    assert "<script>" not in page.html
    refused = site.order(name, quantity='"><script>')
    assert refused.status == 400
    assert "<script>" not in refused.html
    assert json.loads(broker.messages(ORDERS)[0].body)["customer"] == name


@pytest.mark.parametrize(
    ("customer", "item", "quantity"),
    [
        ("", "Green tea, 100 g", "1"),
        ("x" * 81, "Green tea, 100 g", "1"),
        ("A\0da", "Green tea, 100 g", "1"),
        ("Ada", "Beer", "1"),
        ("Ada", "", "1"),
        ("Ada", "Green tea, 100 g", "0"),
        ("Ada", "Green tea, 100 g", "100"),
        ("Ada", "Green tea, 100 g", "-1"),
        ("Ada", "Green tea, 100 g", "9" * 30),
        ("Ada", "Green tea, 100 g", "two"),
        ("Ada", "Green tea, 100 g", ""),
    ],
)
def test_an_incomplete_order_is_refused_and_nobody_is_told(
    site: Site, broker: Broker, customer: str, item: str, quantity: str
) -> None:
    before = site.get("/").newest
    page = site.order(customer, item, quantity)
    assert page.status == 400
    assert page.notice
    assert site.get("/").newest == before
    assert broker.received("SEND") == 0


def test_an_empty_form_is_refused(site: Site, broker: Broker) -> None:
    assert site.post("/orders", {}).status == 400
    assert broker.received("SEND") == 0


def test_without_a_broker_the_order_is_kept_and_can_be_announced_later(site: Site, broker: Broker) -> None:
    broker.stop()
    try:
        page = site.order("Grace Hopper")
        assert page.status == 200
        assert "is saved, but not announced" in page.notice
        assert "Trying again is safe" in page.notice
        assert "Grace Hopper" in page.newest
        assert "not announced" in page.newest
        again = site.post(page.retry_path, {})
        assert "is saved, but not announced" in again.notice
    finally:
        broker.start()

    pages = [again]

    def announced() -> bool:
        pages.append(site.post(page.retry_path, {}))
        return "saved and announced" in pages[-1].notice

    assert eventually(announced), pages[-1].notice  # after a failure, the pool waits before it connects again
    again = pages[-1]
    assert "not announced" not in again.newest
    [message] = broker.messages(ORDERS)
    assert message.headers["x-message-id"] in again.newest
    assert len(broker.messages(AUDIT)) == 1


def test_a_refusal_is_shown_in_the_words_of_the_broker_as_text(site: Site, broker: Broker) -> None:
    broker.faults.error("SEND", "no <b>coffee</b>", close=False)  # RabbitMQ and ActiveMQ go on, too
    page = site.order()
    assert "is saved, but not announced" in page.notice
    assert "The broker refused the message to /queue/orders" in page.notice
    assert "no <b>coffee</b>" in page.notice
    assert "<b>" not in page.html
    assert "rejected" in page.newest
    assert "saved and announced" in site.post(page.retry_path, {}).notice


def test_an_order_whose_messages_an_operator_has_discarded_is_not_called_confirmed(site: Site, broker: Broker) -> None:
    if site.name == "wsgi":
        pytest.skip("it has no outbox")
    broker.faults.error("SEND", "no coffee", close=False)
    assert "rejected" in site.order().newest
    discard_unsent(site)
    page = site.get("/")
    assert "confirmed" not in page.newest
    assert "not announced" in page.newest
    assert "discarded" in page.newest
    assert "saved and announced" in site.post(page.retry_path, {}).notice
    assert len(broker.messages(ORDERS)) == 1


def test_an_unknown_outcome_is_called_so_and_a_second_attempt_has_the_same_id(site: Site, broker: Broker) -> None:
    broker.faults.close_before_receipt("SEND")
    page = site.order()
    assert "is saved, but not confirmed" in page.notice
    assert "it may have arrived" in page.notice
    assert "saved and announced" in site.post(page.retry_path, {}).notice
    first, second = broker.messages(ORDERS)
    assert first.headers["x-message-id"] == second.headers["x-message-id"]
    assert first.body == second.body


def test_a_failure_of_the_second_message_is_told_of_that_one(site: Site, broker: Broker) -> None:
    broker.faults.error("SEND", "full", after=1)
    page = site.order()
    assert "The broker refused the message to /queue/audit" in page.notice
    assert len(broker.messages(ORDERS)) == 1


def test_what_was_confirmed_is_not_announced_again(site: Site, broker: Broker) -> None:
    site.order()
    number = json.loads(broker.messages(ORDERS)[0].body)["id"]
    assert "saved and announced" in site.post(f"/orders/{number}/announce", {}).notice
    assert broker.received("SEND") == 2


@pytest.mark.parametrize("number", ["0", "123456", "9" * 30])
def test_an_order_that_does_not_exist_is_not_found(site: Site, number: str) -> None:
    assert site.post(f"/orders/{number}/announce", {}).status == 404


@pytest.mark.parametrize("number", ["0", "x", "-1", "9" * 30, "%00", "²", "%FF"])
def test_the_page_of_no_order_is_the_plain_page(site: Site, number: str) -> None:
    number = number if number.isascii() else "%C2%B2"
    page = site.get(f"/?order={number}")
    assert (page.status, page.notice) == (200, "")


def test_other_sites_cannot_order(site: Site, broker: Broker) -> None:
    form = {"customer": "Mallory", "item": "Green tea, 100 g", "quantity": "1"}
    assert site.post_blindly("/orders", form, Sec_Fetch_Site="cross-site").status == 403
    assert broker.received("SEND") == 0


def test_the_style_is_there(site: Site) -> None:
    page = site.get("/style.css")
    assert page.status == 200
    assert page.kind.startswith("text/css")
    assert "body" in page.html


def test_the_icon_that_browsers_ask_for_is_there(site: Site) -> None:
    icon = site.get("/favicon.ico")
    assert icon.status == 200
    assert icon.kind.startswith("image/svg+xml")
    assert '<link rel="icon" href="/favicon.ico">' in site.get("/").html


def test_the_script_finds_the_list_that_it_looks_at_again(site: Site) -> None:
    script = site.get("/live.js")
    assert script.status == 200
    assert script.kind.startswith("text/javascript")
    assert 'src="/live.js"' in site.get("/").html
    again = re.findall(r'id="orders" data-page="([^"]+)"', site.post("/orders", {}).html)[0]
    assert (site.get(again).status, 'id="orders"' in site.get(again).html) == (200, True)


def test_other_paths_and_methods_are_refused(site: Site) -> None:
    assert site.get("/nothing").status == 404
    assert site.get("/orders").status in (404, 405)
    assert site.post("/", {}).status in (403, 404, 405)
