"""Dead letters are copies of messages that could not be handled. `DeadLetters` sends the copies."""

from __future__ import annotations

from ..client.message import Message
from ..errors import ConnectionLost, InvalidFrame, Rejected
from ..pool import PublishClientPool
from .delivery import DELIVERY_COUNTS, Delivery
from .error_text import short_text

__all__ = ["DeadLetters"]

_LONGEST_HEADER = 500  # characters of a header's name and value together, if the message was too large to be read
_MOST_HEADERS = 50  # headers of such a message; RabbitMQ 4.3.6 accepts 100 headers in a SEND, ours included
_MOST_LOST = 2  # after this number of tries that lost the connection, only the harmless headers are sent
_LONGEST_PROPERTY = 255  # bytes of the value of a header that becomes an AMQP property in RabbitMQ

# The harmless headers: only these are kept if a dead letter is refused or cannot be encoded.
_PROPERTIES = frozenset(("content-type", "content-encoding", "correlation-id"))
_PLAIN = _PROPERTIES | {"x-message-id"}
# A dead letter does not keep these headers of its message: they belong to one delivery, or RabbitMQ reads them in SEND
# as properties of the queue. RabbitMQ 3.10 refuses a message whose user-id is not the login of its sender. Artemis 2.40
# drops a message that has the _AMQ_DUPL_ID of an earlier message. Artemis also confirms and then drops a message if its
# destination-type does not fit the destination: a dead letter may go to a queue although its message came from a topic.
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
    """Sends dead letters to *destination* on a connection of *pool*, and waits for each receipt.

    The worker's own connection is not used, because many messages could arrive before the receipt. A dead letter has
    the body and most headers of its message. Additional headers say why the message failed. If the broker refuses the
    dead letter, the next try keeps only four of the message's headers, such as ``content-type``.
    """

    def __init__(self, pool: PublishClientPool, destination: str) -> None:
        self._pool = pool
        self.destination = destination

    def send(self, delivery: Delivery) -> Exception | None:
        """Send a dead letter for *delivery*. Return the error if the broker has not confirmed the dead letter."""
        try:
            try:
                self._send(delivery, plain=delivery.refused)
            except InvalidFrame:
                # A header was read but cannot be encoded, because the sender uses another version of STOMP or a less
                # strict library.
                self._send(delivery, plain=True)
        except Exception as error:  # noqa: BLE001 - the message must be tried again after any error
            delivery.dead_letter_tries += 1
            # If there are more than 100 headers, RabbitMQ 4.3.6 closes the connection without an ERROR. If a header
            # name has more than 255 bytes, it closes the connection with an ERROR that does not name the message.
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
        short.sort(key=lambda header: header[0] not in _PLAIN)  # _PLAIN first: RabbitMQ 4.3 reverses headers
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
