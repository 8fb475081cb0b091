"""Where the WSGI example keeps its orders."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from example_apps.shop import ANNOUNCED, DISCARDED, REJECTED, UNKNOWN, WAITING, Orders, tell_outbox, waits

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# The table of the examples before they had consumers, with an order in it.
EARLIER = """
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL, quantity INTEGER NOT NULL,
        placed_at TEXT NOT NULL, message_id TEXT NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL,
        milliseconds REAL);
    INSERT INTO orders VALUES (7, 'Ada', 'Hand grinder', 1, '2026-01-02T03:04:05+00:00', 'a7', 'announced', '', 1.5);
"""


def make_earlier(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(EARLIER)
    return path


def test_a_database_of_an_earlier_version_goes_on_working(tmp_path: Path) -> None:
    earlier = make_earlier(tmp_path / "orders.sqlite3")
    orders = Orders(earlier)
    [old] = orders.latest()
    assert (old.id, old.customer, old.placed_at, old.handled_at, old.booked_at) == (7, "Ada", NOW, None, None)
    assert orders.handle("a7")
    assert orders.add("Grace", "Hand grinder", 1).handled_at is None
    newest, old = Orders(earlier).latest()
    assert (newest.customer, newest.handled_at) == ("Grace", None)
    assert old.handled_at is not None


def test_site_and_consumer_may_both_be_the_first_to_open_an_earlier_database(tmp_path: Path) -> None:
    files = [make_earlier(tmp_path / f"{number}.sqlite3") for number in range(20)]
    errors: list[sqlite3.Error] = []
    together = threading.Barrier(4)

    def open_them() -> None:
        for file in files:
            together.wait(60)
            try:
                Orders(file)
            except sqlite3.Error as error:
                errors.append(error)

    threads = [threading.Thread(target=open_them) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert [len(Orders(file).latest()) for file in files] == [1] * len(files)


def test_the_first_moment_is_kept(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.sqlite3")
    order = orders.add("Ada", "Hand grinder", 1)
    assert orders.handle(order.message_id)
    assert orders.book(order.id, NOW)
    first = orders.get(order.id)
    assert orders.handle(order.message_id)
    assert orders.book(order.id, NOW + timedelta(days=1))
    assert orders.get(order.id) == first
    assert first is not None
    assert first.booked_at == NOW
    assert first.handled_at is not None
    assert first.handled_at.tzinfo is not None


def test_only_the_one_order_is_handled(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.sqlite3")
    one, two = orders.add("Ada", "Hand grinder", 1), orders.add("Grace", "Hand grinder", 1)
    assert orders.handle(two.message_id)
    assert not orders.handle("nobody's")
    assert not orders.book(99, NOW)
    assert [order.handled_at is None for order in orders.latest()] == [False, True]
    assert one.when_handled == ""


def test_announcing_again_does_not_change_what_the_consumer_has_noted(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.sqlite3")
    order = orders.add("Ada", "Hand grinder", 1)
    orders.note(order.id, UNKNOWN, "no receipt")
    orders.handle(order.message_id)
    orders.note(order.id, ANNOUNCED, milliseconds=1.0)
    after = orders.get(order.id)
    assert after is not None
    assert (after.state, after.handled_at is None) == (ANNOUNCED, False)


@pytest.mark.parametrize(
    ("state", "handled", "booked", "more_is_to_come"),
    [
        (ANNOUNCED, False, False, True),
        (ANNOUNCED, True, False, True),
        (ANNOUNCED, False, True, True),
        (ANNOUNCED, True, True, False),
        (UNKNOWN, False, False, True),
        (UNKNOWN, True, False, False),
        (REJECTED, False, False, False),
        (WAITING, False, False, False),
    ],
)
def test_an_order_waits_while_one_of_its_messages_may_be_at_the_broker(
    state: str, handled: bool, booked: bool, more_is_to_come: bool
) -> None:
    assert waits(state, NOW if handled else None, NOW if booked else None) == more_is_to_come


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([("a", "/queue/orders", "sent", ""), ("a-audit", "/queue/audit", "sent", "")], ANNOUNCED),
        ([("a", "/queue/orders", "sent", ""), ("a-audit", "/queue/audit", "pending", "")], WAITING),
        (
            [("a", "/queue/orders", "failed", "Rejected: no coffee"), ("a-audit", "/queue/audit", "waiting", "")],
            REJECTED,
        ),
        ([("a-audit", "/queue/audit", "waiting", "")], WAITING),
        ([("a-audit", "/queue/audit", "sent", "")], DISCARDED),
        ([], DISCARDED),
    ],
)
def test_an_order_is_announced_when_both_of_its_messages_were_sent(rows: list[tuple[str, str, str, str]], state: str):
    assert tell_outbox("a", rows)[0] == state
