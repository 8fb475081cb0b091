"""Handles what the site announces. Start it with ``python -m example_apps.django_app stomp_worker``.

A message may come twice: when its confirmation was lost and it was sent again, or when the consumer ended before it
could acknowledge. With ``once=True``, its id is written in the transaction of the handler, and a copy is not handled.
"""

from __future__ import annotations

from stomp_web.django import subscribe
from stomp_web.worker import ReceivedMessage, Reject

from .models import Order


@subscribe("/queue/orders", accept=("json",), once=True)
def handle_order(message: ReceivedMessage) -> None:
    """Pack the parcel, in a real shop. The transaction is committed, and the message acknowledged, after this."""
    if not Order.handle(message.id):
        # An order is stored together with its messages: this one is from another database. Retrying would not help.
        raise Reject(f"there is no order with the message id {message.id}")


# Reading a pickle can run code of its sender. This is safe only if no other program can send to this queue.
# On a broker with other users use "signed-pickle", and set signing_keys in STOMP.
@subscribe("/queue/audit", accept=("pickle",), once=True)
def book_order(message: ReceivedMessage) -> None:
    """Enter the order in the books."""
    entry = message.payload
    if not Order.book(entry["order"], entry["at"]):  # "at" is a datetime: pickle keeps the type
        raise Reject(f"there is no order {entry['order']}")
