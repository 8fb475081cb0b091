"""The parts of the examples that do not concern messages: the catalogue, and the database of orders.

The Django and the Flask example store their orders with models of their own, and use the rest of this module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sqlite3
import typing
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import stomp_web
from stomp_web import DeliveryUnknown, MessageError, NotSent, Rejected

STYLE: typing.Final = Path(__file__).with_name("style.css")
SCRIPT: typing.Final = Path(__file__).with_name("live.js")
ICON: typing.Final = Path(__file__).with_name("favicon.svg")

#: What is sold, with prices in euros.
CATALOGUE: typing.Final = {
    "Espresso beans, 250 g": Decimal("8.90"),
    "Filter coffee, 500 g": Decimal("12.50"),
    "Green tea, 100 g": Decimal("6.40"),
    "Hand grinder": Decimal("54.00"),
}

#: The states of an order. Only the first one means that the broker has confirmed both messages.
ANNOUNCED, WAITING, NOT_SENT, REJECTED, UNKNOWN = "announced", "waiting", "not sent", "rejected", "unknown"
DISCARDED = "discarded"

#: The days for which an outbox keeps the row of a sent message. A row that is not there was discarded until then.
KEEP: typing.Final = 30

#: The texts of the page. "Not announced" would be wrong for a message that may have arrived.
LABELS: typing.Final = {
    ANNOUNCED: "confirmed",
    WAITING: "not announced",
    NOT_SENT: "not announced",
    REJECTED: "not announced",
    UNKNOWN: "not confirmed",
    DISCARDED: "not announced",
}


def tell(error: MessageError) -> tuple[str, str]:
    """Return the state of an order whose announcement failed with *error*, and a text for the user."""
    return _tell(type(error), error.destination or "", str(error))


def tell_outbox(message_id: str, rows: Iterable[tuple[str, str, str, str]]) -> tuple[str, str]:
    """Return the same for an order whose messages are in an outbox. It is announced when both rows say "sent".

    *message_id* is that of the order; *rows* have the id, destination, state and last error of its messages, in order.
    """
    missing = {message_id: "/queue/orders", f"{message_id}-audit": "/queue/audit"}
    for identity, destination, state, last_error in rows:
        if state != "sent":
            return _tell_waiting(destination, last_error)
        missing.pop(identity, None)
    for destination in missing.values():
        words = f"The message to {destination} is not in the outbox: an operator has discarded it, unless it was sent"
        return DISCARDED, f"{words} more than {KEEP} days ago. Trying again is safe."
    return ANNOUNCED, ""


def _tell_waiting(destination: str, last_error: str) -> tuple[str, str]:
    if not last_error:
        words = f"The message to {destination} has not reached the broker yet. The relay sends it when it can."
        return WAITING, f"{words} Trying again is safe."
    return _tell(getattr(stomp_web, last_error.partition(":")[0], NotSent), destination, last_error)


def _tell(kind: type[Exception], destination: str, error: str) -> tuple[str, str]:
    """The class of the exception says what is true of the message."""
    what = f"the message to {destination}"
    if issubclass(kind, DeliveryUnknown):
        state = UNKNOWN
        words = f"The broker did not confirm {what}: it may have arrived. A second one will have the same id."
    elif issubclass(kind, Rejected):
        state, words = REJECTED, f"The broker refused {what}. Trying again helps when the reason is gone."
    else:
        state, words = NOT_SENT, f"No part of {what} has reached the broker. Trying again is safe."
    return state, f"{words}\n{error}"


def waits(state: str, handled_at: datetime | None, booked_at: datetime | None) -> bool:
    """Whether the order may still change by itself: one of its messages is, or may be, at the broker."""
    return (state in (ANNOUNCED, UNKNOWN) and handled_at is None) or (state == ANNOUNCED and booked_at is None)


def moment(at: datetime | None) -> str:
    """Return *at* in readable form."""
    return "" if at is None else f"{at.day} {at:%b, %H:%M:%S} UTC"


@dataclasses.dataclass(frozen=True)
class Order:
    """One order. Its `message_id` stays the same however often it is announced, so that receivers recognize copies.

    `handled_at` is the moment at which the consumer had handled it, and `booked_at` the one that its entry in the books
    names. Both are ``None`` until then.
    """

    id: int
    customer: str
    item: str
    quantity: int
    placed_at: datetime
    message_id: str
    state: str
    detail: str
    milliseconds: float | None
    handled_at: datetime | None = None
    booked_at: datetime | None = None

    @property
    def total(self) -> Decimal:
        """The price of it all."""
        return CATALOGUE.get(self.item, Decimal(0)) * self.quantity

    @property
    def label(self) -> str:
        """The state in two words, for the page."""
        return LABELS[self.state]

    @property
    def when_handled(self) -> str:
        """The time at which it was handled, in readable form."""
        return moment(self.handled_at)

    @property
    def waits(self) -> bool:
        """Whether it may still change by itself."""
        return waits(self.state, self.handled_at, self.booked_at)


def check_order(form: Mapping[str, str]) -> tuple[dict[str, typing.Any], str]:
    """Return the fields of a *form* for `Orders.add`, and what is wrong with them (``""``: nothing)."""
    customer = " ".join(form.get("customer", "").split())
    item = form.get("item", "")
    quantity = form.get("quantity", "")
    fields = {"customer": customer, "item": item, "quantity": quantity}
    if not 1 <= len(customer) <= 80 or not customer.isprintable():
        return fields, "Please tell us your name, in at most 80 letters."
    if item not in CATALOGUE:
        return fields, "Please choose one of our goods."
    if not (quantity.isascii() and quantity.isdigit() and 1 <= int(quantity[:9]) <= 99):
        return fields, "Please order between 1 and 99 pieces."
    return {**fields, "quantity": int(quantity)}, ""


class Orders:
    """The orders, in a SQLite file. Every call has a connection of its own, so any thread may call."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS orders ("
                " id INTEGER PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL, quantity INTEGER NOT NULL,"
                " placed_at TEXT NOT NULL, message_id TEXT NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL,"
                " milliseconds REAL, handled_at TEXT, booked_at TEXT)"
            )
            # The file may be older than these two columns, and site and consumer may add them at the same time.
            connection.execute("BEGIN IMMEDIATE")
            columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(orders)")]
            for name in ("handled_at", "booked_at"):
                if name not in columns:
                    connection.execute(f"ALTER TABLE orders ADD COLUMN {name} TEXT")

    def add(self, customer: str, item: str, quantity: int) -> Order:
        """Store a new order, which is not announced yet."""
        now, message_id = datetime.now(UTC), secrets.token_hex(8)
        with self._connection() as connection:
            cursor = connection.execute(
                "INSERT INTO orders VALUES (NULL, ?, ?, ?, ?, ?, ?, '', NULL, NULL, NULL)",
                (customer, item, quantity, now.isoformat(), message_id, WAITING),
            )
        return Order(cursor.lastrowid or 0, customer, item, quantity, now, message_id, WAITING, "", None)

    def note(self, order_id: int, state: str, detail: str = "", milliseconds: float | None = None) -> None:
        """Store the outcome of announcing an order."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE orders SET state = ?, detail = ?, milliseconds = ? WHERE id = ?",
                (state, detail, milliseconds, order_id),
            )

    def handle(self, message_id: str) -> bool:
        """Remember that an order is handled, and return whether there is such an order.

        A message may come more than once. The second time changes nothing: the first moment is kept.
        """
        return self._keep_first("handled_at", datetime.now(UTC), "message_id", message_id)

    def book(self, order_id: int, at: datetime) -> bool:
        """Enter an order in the books, and return whether there is such an order. Also no more than once."""
        return self._keep_first("booked_at", at, "id", order_id)

    def _keep_first(self, field: str, at: datetime, key: str, value: object) -> bool:
        with self._connection() as connection:
            cursor = connection.execute(
                f"UPDATE orders SET {field} = coalesce({field}, ?) WHERE {key} = ?", (at.isoformat(), value)
            )
        return cursor.rowcount > 0

    def get(self, order_id: typing.Any) -> Order | None:
        """Return the order with this number; ``None`` if it is no valid number or there is no such order."""
        text = str(order_id)
        if not (text.isascii() and text.isdigit() and len(text) < 18):
            return None
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM orders WHERE id = ?", (int(text),)).fetchone()
        return None if row is None else _order(row)

    def latest(self, count: int = 20) -> list[Order]:
        """Return the latest orders, the newest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM orders ORDER BY id DESC LIMIT ?", (count,)).fetchall()
        return [_order(row) for row in rows]

    @contextlib.contextmanager
    def _connection(self) -> typing.Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
            yield connection


def _order(row: tuple[typing.Any, ...]) -> Order:
    order = Order(*row)
    read = datetime.fromisoformat
    return dataclasses.replace(
        order, placed_at=read(row[4]), handled_at=row[9] and read(row[9]), booked_at=row[10] and read(row[10])
    )
