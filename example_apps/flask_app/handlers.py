"""Handles what the site announces. Start it with ``flask --app example_apps.flask_app stomp worker``.

A message may come twice: when its confirmation was lost and somebody has pressed "Try again", or when the consumer was
ended before it could acknowledge. So a handler does its work in such a way that doing it again changes nothing.
"""

from __future__ import annotations

from stomp_web.worker import ReceivedMessage, Reject

from .app import orders, stomp


@stomp.subscribe("/queue/orders", accept=("json",))
def handle_order(message: ReceivedMessage) -> None:
    """Here the parcel would be packed. The message is acknowledged when this has returned."""
    if not orders().handle(message.id):
        # It is stored before it is announced: so this is somebody else's. Another try would not help.
        raise Reject(f"there is no order with the message id {message.id}")


# Whoever can send to this queue can run code here: that is what reading a pickle means. It is right where only the site
# can send there. On a broker with other users take "signed-pickle", and set STOMP_SIGNING_KEYS.
@stomp.subscribe("/queue/audit", accept=("pickle",))
def book_order(message: ReceivedMessage) -> None:
    """Enter the order in the books."""
    entry = message.payload
    if not orders().book(entry["order"], entry["at"]):  # "at" is a datetime, as it was sent
        raise Reject(f"there is no order {entry['order']}")
