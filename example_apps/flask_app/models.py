"""The database of the Flask example: the orders, and the tables of the outbox and the inbox."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from decimal import Decimal

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Table, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from example_apps.shop import ANNOUNCED, CATALOGUE, LABELS, WAITING, moment, tell_outbox, waits
from stomp_web import Publisher
from stomp_web.sqlalchemy import Inbox, Outbox


class Moment(TypeDecorator[datetime]):
    """A moment in UTC. SQLite does not store the time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Order(db.Model):  # type: ignore[misc, name-defined]
    """One order. Its `message_id` stays the same however often it is announced, so that receivers recognize copies.

    `handled_at` is the moment at which the consumer had handled it, and `booked_at` the one that its entry in the books
    names. Both are ``None`` until then.
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    item: Mapped[str]
    quantity: Mapped[int]
    placed_at: Mapped[datetime] = mapped_column(Moment, default=lambda: datetime.now(UTC))
    message_id: Mapped[str] = mapped_column(default=lambda: secrets.token_hex(8), index=True)
    state: Mapped[str] = mapped_column(default=WAITING)
    detail: Mapped[str] = mapped_column(default="")
    milliseconds: Mapped[float | None]
    handled_at: Mapped[datetime | None] = mapped_column(Moment)
    booked_at: Mapped[datetime | None] = mapped_column(Moment)

    @property
    def key(self) -> str:
        """The key of its messages in the outbox."""
        return f"order-{self.id}"

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
        return self.handled_at is None or waits(self.state, self.handled_at, self.booked_at)

    def payload(self) -> dict[str, object]:
        """What receivers get to know. The serializer writes the date in ISO 8601 and the total as a text."""
        return {
            "id": self.id,
            "customer": self.customer,
            "item": self.item,
            "quantity": self.quantity,
            "total": self.total,
            "placed_at": self.placed_at,
        }


def init_app(app: Flask, publisher: Publisher) -> None:
    """Make the tables in the app's database. Those of the outbox and the inbox are in the metadata, too."""
    Outbox(db.metadata, publisher)
    Inbox(db.metadata, db.session)
    db.init_app(app)
    with app.app_context():
        db.create_all()


def outbox() -> Table:
    return db.metadata.tables["stomp_web_outbox"]


def note_outcome(order: Order) -> None:
    """Set the state of *order* to what the rows of its messages in the outbox say."""
    column = outbox().c
    told = select(column.message_id, column.destination, column.state, column.last_error)
    rows = db.session.execute(told.where(column.key == order.key).order_by(column.id))
    order.state, order.detail = tell_outbox(order.message_id, map(tuple, rows))


def latest_orders(count: int = 20) -> list[Order]:
    """Return the latest orders, the newest first, and note which of them a relay has announced meanwhile."""
    orders = list(db.session.scalars(select(Order).order_by(Order.id.desc()).limit(count)))
    for order in orders:
        if order.state != ANNOUNCED:
            note_outcome(order)
    db.session.commit()
    return orders
