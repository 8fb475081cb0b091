"""Dead letters: what is sent to the dead letter destination for a message that cannot be handled.

A dead letter has the body and the headers of its message, without those of the delivery or the queue, and says why it
is there. If the broker refuses it, perhaps for its headers, it is sent again with the harmless ones only.
"""

from __future__ import annotations

from ..client.message import Message
from ..errors import ConnectionLost, InvalidFrame, Rejected
from ..pool import PublishClientPool
from .delivery import Delivery
from .error_text import short_text
from .session import DELIVERY_COUNTS

__all__ = ["DeadLetters"]

_LONGEST_HEADER = 500  # characters of a name and its value, of a message that was too large to be read
_MOST_HEADERS = 50  # of such a message; RabbitMQ 4.3.6 takes 100 of a SEND, ours included
_MOST_LOST = 2  # tries with all headers that may end with the connection
_LONGEST_PROPERTY = 255  # bytes of a header that RabbitMQ makes a property of AMQP

# Of a message that is refused as a dead letter, or cannot be written: the headers that are no danger.
_PROPERTIES = frozenset(("content-type", "content-encoding", "correlation-id"))
_PLAIN = _PROPERTIES | {"x-message-id"}
# Headers of MESSAGE that belong to one delivery, and headers of SEND that RabbitMQ takes for properties of the queue.
# RabbitMQ 3.10 refuses a message whose user-id is not the login of its sender. Artemis 2.40 drops what has the
# _AMQ_DUPL_ID of an earlier message, and, after it has confirmed it, what has the destination-type of another kind of
# destination: the dead letter may go to another kind than the message came from.
_NOT_KEPT = frozenset(
    (
        *("_amq_dupl_id", "ack", "auto-delete", "content-length", "destination", "destination-type", "durable"),
        *("exclusive", "expires", "expiration", "message-id", "original-destination", "receipt", "redelivered"),
        *("subscription", "timestamp", "transaction", "user-id", *DELIVERY_COUNTS, "x-dead-letter-exchange"),
        *("x-dead-letter-routing-key", "x-error", "x-expires", "x-failures", "x-max-length", "x-max-length-bytes"),
        *("x-max-priority", "x-message-ttl", "x-queue-type"),
    )
)


class DeadLetters:
    """Sends dead letters to *destination*, each confirmed, on a connection of *pool*.

    Not on the worker's connection, where many messages may stand before the receipt.
    """

    def __init__(self, pool: PublishClientPool, destination: str) -> None:
        self._pool = pool
        self.destination = destination

    def send(self, delivery: Delivery) -> Exception | None:
        """Send the message of *delivery*; return the error if the broker has not confirmed it."""
        try:
            try:
                self._send(delivery, plain=delivery.refused)
            except InvalidFrame:
                # A header that this library cannot write, though it could be read: from a sender with another version
                # of STOMP, or with a less strict library.
                self._send(delivery, plain=True)
        except Exception as error:  # noqa: BLE001 - mostly a MessageError, but the message must be tried again
            delivery.dead_letter_tries += 1
            # RabbitMQ 4.3.6 ends the connection without a word for more than 100 headers, and with an ERROR that does
            # not name the message for a name of more than 255 bytes.
            delivery.lost += isinstance(error, ConnectionLost)
            delivery.refused |= isinstance(error, Rejected | InvalidFrame) or delivery.lost >= _MOST_LOST
            return error
        return None

    def _send(self, delivery: Delivery, *, plain: bool) -> None:
        with self._pool.client() as client:
            client.send_many((_dead_letter(delivery, self.destination, plain=plain),), confirm=True)


def _dead_letter(delivery: Delivery, destination: str, *, plain: bool) -> Message:
    frame = delivery.frame
    headers = {name: value for name, value in frame.headers.items() if name.lower() not in _NOT_KEPT}
    if frame.truncated:  # the consumers of dead letters have limits, too
        short = [(name, value) for name, value in headers.items() if len(name) + len(value) <= _LONGEST_HEADER]
        short.sort(key=lambda header: header[0] not in _PLAIN)  # those first; RabbitMQ 4.3 reverses an AMQP table
        headers = dict(short[:_MOST_HEADERS])
    if plain:
        headers = {
            name: short_text(value)
            for name, value in headers.items()
            if name in _PLAIN and (name not in _PROPERTIES or len(value.encode()) <= _LONGEST_PROPERTY)
        }
    headers |= {
        "original-destination": frame.headers.get("destination", delivery.handler.destination),
        "x-error": short_text(delivery.error),
        "x-failures": str(delivery.failures),
        "persistent": "true",
    }
    return Message(destination, frame.body, headers)
