"""Tests of the outbox with several connections, which a database of SQLite in memory does not have.

test_outbox_databases.py runs them.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test import override_settings

from stomp_web.django import send
from stomp_web.django.outbox.inbox import DjangoInbox
from stomp_web.django.outbox.models import InboxMessage, OutboxMessage
from stomp_web.django.outbox.store import DjangoStore
from stomp_web.django.outbox.writing import make_relay
from stomp_web.outbox.claim import Outcomes
from tests.client.scripted import eventually
from tests.django.shop.models import Order
from tests.django.test_on_commit import payloads
from tests.django.test_outbox import MEMORY, message, store
from tests.outbox.running import LIMIT, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stomp_web.worker import ReceivedMessage

T = TypeVar("T")


@pytest.fixture(autouse=True)
def no_rows() -> Iterator[None]:
    yield
    OutboxMessage.objects.all().delete()
    InboxMessage.objects.all().delete()
    Order.objects.all().delete()


def test_several_relays_send_each_message_once_and_in_the_order_of_its_key():
    with override_settings(STOMP={"default": MEMORY}):
        for first in range(0, 200, 20):
            with transaction.atomic():
                for number in range(first, first + 20):
                    send("/queue/a", number, outbox=True, key=str(number % 7))
        relays = [make_relay("default", batch=10) for _ in range(3)]
        with Running(*relays, within=closing_connections):
            assert eventually(lambda: not OutboxMessage.objects.exists())
        sent = payloads()
    assert sorted(sent) == list(range(200))
    for key in range(7):
        mine = [number for number in sent if number % 7 == key]
        assert mine == sorted(mine)


def test_who_writes_does_not_wait_for_a_relay_that_sends_and_no_relay_for_another():
    def write(*payloads: object) -> None:
        with transaction.atomic():
            for payload in payloads:
                send("/queue/a", payload, outbox=True, key="k")

    def claim() -> list[bytes]:
        with DjangoStore("default").claim(10) as claim:
            return [row.body for row in claim.rows]

    write(1, 2)
    with DjangoStore("default").claim(10) as held:
        assert [row.body for row in held.rows] == [b"1", b"2"]
        in_a_thread(lambda: write(3))
        assert in_a_thread(claim) == []
    assert claim() == [b"1", b"2", b"3"]


def test_a_relay_that_has_sent_its_rows_does_not_wait_for_those_of_another():
    def claim_and_delete() -> list[int]:
        with DjangoStore("default").claim(10) as claim:
            claim.record(Outcomes(sent=list(claim.rows)))
            return [int(row.body) for row in claim.rows]

    with transaction.atomic():
        for payload in range(20):
            send("/queue/a", payload, outbox=True, key="ab"[payload >= 10])
    with DjangoStore("default").claim(10) as held:
        assert in_a_thread(claim_and_delete) == list(range(10, 20))
        held.record(Outcomes(sent=list(held.rows)))
    assert not OutboxMessage.objects.exists()


def test_a_copy_that_comes_at_the_same_time_is_not_handled():
    began, go = threading.Event(), threading.Event()

    def slow(received: ReceivedMessage) -> None:
        began.set()
        assert go.wait(LIMIT)
        store(received)

    def handle(function: Callable[[ReceivedMessage], None]) -> None:
        DjangoInbox("default").run("shop.store", "m1", function, message("one"))

    with concurrent.futures.ThreadPoolExecutor() as threads:
        first = threads.submit(closing_connections, lambda: handle(slow))
        assert began.wait(LIMIT)
        second = threads.submit(closing_connections, lambda: handle(store))
        go.set()
        first.result(LIMIT)
        second.result(LIMIT)
    assert Order.objects.count() == 1


def test_a_relay_whose_connection_the_database_has_ended_connects_again():
    relay = make_relay("default", poll=0.1)
    with override_settings(STOMP={"default": MEMORY}), Running(relay, within=closing_connections):
        for count in range(1, 4):
            with transaction.atomic():
                send("/queue/a", count, outbox=True)
            assert eventually(lambda: not OutboxMessage.objects.exists())
            assert set(payloads()) == set(range(1, count + 1))
            assert end_other_connections() > 0


class TestIdleConnections:
    def test_one_that_was_cut_is_noticed_before_its_next_use_if_the_settings_say_so(self, monkeypatch):
        idle = idle_store(monkeypatch, CONN_HEALTH_CHECKS=True)
        assert in_a_thread(end_other_connections) > 0
        idle.rest()
        assert idle.stats().pending == 0

    def test_one_that_is_too_old_is_closed(self, monkeypatch):
        idle = idle_store(monkeypatch, CONN_MAX_AGE=3600)
        idle.rest()
        assert connection.connection is not None
        connection.close_at = time.monotonic()
        idle.rest()
        assert connection.connection is None

    def test_one_stays_open_if_its_age_ends_with_a_request(self, monkeypatch):
        idle = idle_store(monkeypatch, CONN_MAX_AGE=0)
        before = connection.connection
        idle.rest()
        assert connection.connection is before

    def test_one_in_a_transaction_is_left_alone(self, monkeypatch):
        idle = idle_store(monkeypatch, CONN_MAX_AGE=0.001)
        with transaction.atomic():
            before = connection.connection
            connection.close_at = time.monotonic()
            idle.rest()
            assert connection.connection is before


def idle_store(monkeypatch: pytest.MonkeyPatch, **settings: object) -> DjangoStore:
    """A store whose connection was opened with these settings, and used."""
    for name, value in settings.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    connection.close()
    store = DjangoStore("default")
    store.stats()
    return store


def end_other_connections() -> int:
    """End all connections but this thread's, and return how many there were."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
        cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> connection_id()")
        ended = cursor.fetchall()
        for (identity,) in ended:
            with contextlib.suppress(OperationalError):  # it has ended by itself
                cursor.execute(f"KILL {identity}")
    return len(ended)


def closing_connections(function: Callable[[], T]) -> T:
    """Call *function* in a thread of its own, and close the connections that it has opened there."""
    try:
        return function()
    finally:
        connections.close_all()


def in_a_thread(function: Callable[[], T]) -> T:
    """Call *function* with connections of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(closing_connections, function).result(LIMIT)
