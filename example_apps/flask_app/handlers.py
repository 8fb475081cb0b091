"""Handles what the site announces. Start it with ``flask --app example_apps.flask_app stomp worker``.

A message may come twice: when its confirmation was lost and the user pressed "Try again", or when the consumer ended
before it could acknowledge. So handlers are idempotent: handling a message a second time changes nothing.
"""

from __future__ import annotations

from stomp_web.worker import ReceivedMessage, Reject

from .app import orders, stomp


@stomp.subscribe("/queue/orders", accept=("json",))
def handle_order(message: ReceivedMessage) -> None:
    """Pack the parcel, in a real shop. The message is acknowledged when this function has returned."""
    if not orders().handle(message.id):
        # Orders are stored before they are announced: this one is from another database. Retrying would not help.
        raise Reject(f"there is no order with the message id {message.id}")


# Reading a pickle can run code of its sender. This is safe only if no other program can send to this queue.
# On a broker with other users use "signed-pickle", and set STOMP_SIGNING_KEYS.
@stomp.subscribe("/queue/audit", accept=("pickle",))
def book_order(message: ReceivedMessage) -> None:
    """Enter the order in the books."""
    entry = message.payload
    if not orders().book(entry["order"], entry["at"]):  # "at" is a datetime: pickle keeps the type
        raise Reject(f"there is no order {entry['order']}")
