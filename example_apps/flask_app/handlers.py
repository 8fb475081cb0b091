"""Handles what the site announces. Start it with ``flask --app example_apps.flask_app stomp worker``.

A message may come twice: when its confirmation was lost and it was sent again, or when the consumer ended before it
could acknowledge. With ``once=True``, its id is written in the transaction of the handler, and a copy is not handled.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from stomp_web.worker import ReceivedMessage, Reject

from .app import stomp
from .models import Order


@stomp.subscribe("/queue/orders", accept=("json",), once=True)
def handle_order(message: ReceivedMessage, session: Session) -> None:
    """Pack the parcel, in a real shop. The session is committed, and the message acknowledged, after this function."""
    order = session.scalar(select(Order).where(Order.message_id == message.id))
    if order is None:
        # An order is stored together with its messages: this one is from another database. Retrying would not help.
        raise Reject(f"there is no order with the message id {message.id}")
    order.handled_at = datetime.now(UTC)


# Reading a pickle can run code of its sender. This is safe only if no other program can send to this queue.
# On a broker with other users use "signed-pickle", and set STOMP_SIGNING_KEYS.
@stomp.subscribe("/queue/audit", accept=("pickle",), once=True)
def book_order(message: ReceivedMessage, session: Session) -> None:
    """Enter the order in the books."""
    entry = message.payload
    order = session.get(Order, entry["order"])
    if order is None:
        raise Reject(f"there is no order {entry['order']}")
    order.booked_at = entry["at"]  # a datetime: pickle keeps the type
