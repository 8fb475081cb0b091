"""An order that was placed in the browser is seen handled: each example, with the command that starts its consumer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from tests.example_apps.sites import ROOT, Consumer, Site

ORDERS, AUDIT, DEAD = "/queue/orders", "/queue/audit", "/queue/DLQ"
DEADLINE = 150.0


def wait_for_acknowledgements(broker: Broker, count: int) -> None:
    """A message is acknowledged when its handler has returned."""
    assert broker.wait_until(lambda: broker.received("ACK") >= count, DEADLINE)


def test_an_order_is_seen_handled_when_the_consumer_has_it(site: Site, broker: Broker) -> None:
    page = site.order("Ada Lovelace")
    assert "not handled yet" in page.newest
    assert page.looks_again
    with Consumer(site) as consumer:
        wait_for_acknowledgements(broker, 2)
        page = site.get("/")
        out = consumer.stop()
    assert "Ada Lovelace" in page.newest
    assert "handled" in page.newest
    assert page.moment
    assert "not handled yet" not in page.newest
    assert "in the books" in page.newest
    assert not page.looks_again
    assert "receiving from /queue/orders, /queue/audit" in out
    assert broker.pending(ORDERS) + broker.unacknowledged(ORDERS) == []
    assert broker.pending(AUDIT) + broker.unacknowledged(AUDIT) == []
    assert broker.messages(DEAD) == []


def test_a_message_that_comes_again_changes_nothing(site: Site, broker: Broker) -> None:
    site.order()
    [order], [audit] = broker.messages(ORDERS), broker.messages(AUDIT)
    with Consumer(site) as consumer, Publisher(broker.url) as publisher:
        wait_for_acknowledgements(broker, 2)
        before = site.get("/")
        for destination, frame in ((ORDERS, order), (AUDIT, audit)):
            headers = {name: frame.headers[name] for name in ("x-message-id", "content-type")}
            publisher.send(destination, frame.body, headers, serializer="bytes")
        wait_for_acknowledgements(broker, 4)
        consumer.stop()
    assert before.moment
    assert site.get("/").moment == before.moment
    assert site.get("/").newest == before.newest
    assert broker.messages(DEAD) == []


def test_an_order_that_was_not_confirmed_is_handled_if_it_has_arrived(site: Site, broker: Broker) -> None:
    broker.faults.close_before_receipt("SEND")
    page = site.order()
    assert "is saved, but not confirmed" in page.notice
    assert page.looks_again
    with Consumer(site) as consumer:
        wait_for_acknowledgements(broker, 1)
        consumer.stop()
    page = site.get("/")
    assert "not confirmed" in page.newest
    assert "handled" in page.newest
    assert page.moment
    assert page.retry_path


def test_what_is_no_order_of_the_site_becomes_a_dead_letter(site: Site, broker: Broker) -> None:
    with Consumer(site) as consumer, Publisher(broker.url) as publisher:
        publisher.send(ORDERS, {"id": 1_000_000})
        publisher.send(AUDIT, {"order": 1_000_000}, serializer="json")
        letters = broker.wait_for(DEAD, 2, DEADLINE)
        wait_for_acknowledgements(broker, 2)
        site.order()
        wait_for_acknowledgements(broker, 4)
        consumer.stop()
    errors = {letter.headers["original-destination"]: letter.headers["x-error"] for letter in letters}
    assert "there is no order with the message id" in errors[ORDERS]
    assert "only pickle is accepted" in errors[AUDIT]
    assert site.get("/").moment


def test_orders_are_handled_in_processes_too(site: Site, broker: Broker) -> None:
    for _ in range(4):
        site.order()
    with Consumer(site, "--processes", "2") as consumer:
        wait_for_acknowledgements(broker, 8)
        consumer.stop()
    page = site.get("/")
    assert page.moment
    assert not page.looks_again
    assert broker.messages(DEAD) == []


def test_the_migrations_of_the_django_example_are_complete(tmp_path: Path) -> None:
    pytest.importorskip("django")
    environment = {**os.environ, "ORDERS_DATABASE": str(tmp_path / "orders.sqlite3")}
    command = [sys.executable, "-m", "example_apps.django_app", "makemigrations", "--check", "--dry-run"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 0, result.stdout + result.stderr
