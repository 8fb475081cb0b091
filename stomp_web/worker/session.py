"""The current session with the broker, as far as deliveries and acknowledgements depend on it.

An acknowledgement belongs to the session in which its message came. After that session has ended it is not sent: the
broker delivers the message again.
"""

from __future__ import annotations

import typing

from ..client.message import message_id_of
from ..protocol import Frame
from .cumulative_acks import CumulativeAcks
from .deduplication import FailureCounts
from .delivery import Delivery
from .handlers import Handler

if typing.TYPE_CHECKING:
    from ..connection.dialect import Dialect

__all__ = ["DELIVERY_COUNTS", "CurrentSession"]

# How often a quorum queue of RabbitMQ has delivered a message before. 3.10.8 has one header for all these deliveries.
# 4.3.6 counts them in x-acquired-count, and in x-delivery-count only those that ended with the connection.
DELIVERY_COUNTS: typing.Final = ("x-acquired-count", "x-delivery-count")

_REPLACEMENT = "\ufffd"


class CurrentSession:
    """Owns the session's number and dialect, and the deliveries of each subscription in which an ACK is cumulative.

    The supervisor begins and ends sessions; the inbox asks for deliveries, the acknowledger for the rest. *failures*
    are those of earlier deliveries of the same messages.
    """

    def __init__(self, failures: FailureCounts) -> None:
        self._failures = failures
        self._number = 0  # changes when a session begins, and when it ends
        self._cumulative: dict[str, CumulativeAcks] = {}
        #: What is special about the broker; ``None`` before the first session.
        self.dialect: Dialect | None = None

    def begin(self, dialect: Dialect) -> None:
        """Another session has begun, with a broker of this *dialect*."""
        self.dialect = dialect
        self._number += 1
        self._cumulative.clear()

    def end(self) -> None:
        """The session has ended."""
        self._number += 1

    def redelivers(self, delivery: Delivery) -> bool:
        """Whether the broker delivers the message again anyhow, as the session in which it came has ended."""
        return delivery.session != self._number and not delivery.acknowledged_first

    def ack_mode(self, handler: Handler) -> str:
        """The ack mode that SUBSCRIBE names for *handler*.

        It is never ``auto``: with that, the broker counts messages as acknowledged that still wait here, and they would
        be lost with the worker.
        """
        if handler.ack == "client" and not (self.dialect is not None and self.dialect.acks_over_all):
            return "client"
        return "client-individual"

    def cumulative_acks(self, handler: Handler) -> CumulativeAcks:
        """The deliveries of *handler* in this session, if its ack mode is ``client``."""
        return self._cumulative.setdefault(handler.id, CumulativeAcks())

    def new_delivery(self, frame: Frame, handler: Handler) -> Delivery:
        """Return the delivery of *frame*. To be called in the order in which the frames came."""
        headers = frame.headers
        key = None
        message_id = message_id_of(headers)
        if message_id is None and self.dialect is not None and self.dialect.keeps_message_ids:
            message_id = headers.get("message-id")
        if message_id is not None and not (frame.defects and _REPLACEMENT in message_id):
            # Where replacement characters stand for what could not be read, two ids may look the same.
            key = (handler.id, message_id)
        redelivered = headers.get("redelivered") == "true"
        failures = self._failures.get(key)
        if redelivered:  # at the first delivery, such a header is the sender's
            failures = max(failures, *(_number(headers.get(name)) for name in DELIVERY_COUNTS))
        delivery = Delivery(frame, handler, self._number, key, redelivered or failures > 0, failures)
        if self.ack_mode(handler) == "client":
            self.cumulative_acks(handler).add(delivery)
        return delivery


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
