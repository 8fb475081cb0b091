"""The current session with the broker: the state that deliveries and acknowledgements depend on."""

from __future__ import annotations

import collections
import threading
import typing

from ..client.message import message_id_of
from ..connection.dialect import GENERIC, Dialect, choose_dialect
from ..protocol import Frame
from .delivery import Delivery, FailureCounts
from .handlers import Handler

__all__ = ["DELIVERY_COUNTS", "CurrentSession"]

# The headers in which a quorum queue of RabbitMQ counts earlier deliveries. 3.10.8 counts all in x-delivery-count.
# 4.3.6 counts all in x-acquired-count, and in x-delivery-count only the deliveries that ended with the connection.
DELIVERY_COUNTS: typing.Final = ("x-acquired-count", "x-delivery-count")


class CurrentSession:
    """The session's number, dialect and cumulative ACKs. *failures* counts the failures of earlier deliveries."""

    def __init__(self, failures: FailureCounts) -> None:
        self._failures = failures
        self._number = 0  # changes when a session begins, and when it ends
        self._cumulative: dict[str, CumulativeAcks] = {}
        self.dialect: Dialect = GENERIC

    def begin(self, server: str | None) -> None:
        """Note that a session has begun. *server* is the ``server`` header of the broker."""
        self.dialect = choose_dialect(server)
        self._number += 1
        self._cumulative.clear()

    def end(self) -> None:
        """Note that the session has ended."""
        self._number += 1

    def redelivers(self, delivery: Delivery) -> bool:
        """Whether the broker delivers the message again, because the session of *delivery* has ended."""
        return delivery.session != self._number and not delivery.acknowledged_first

    def ack_mode(self, handler: Handler) -> str:
        """Return the ack mode for the SUBSCRIBE of *handler*. It is never ``auto``: waiting messages could be lost."""
        return "client" if handler.ack == "client" and not self.dialect.acks_over_all else "client-individual"

    def cumulative_acks(self, handler: Handler) -> CumulativeAcks:
        """Return the unacknowledged deliveries of *handler*, whose ack mode is ``client``."""
        return self._cumulative.setdefault(handler.id, CumulativeAcks())

    def new_delivery(self, frame: Frame, handler: Handler) -> Delivery:
        """Return the delivery of *frame*. Frames must be passed in the order in which they came."""
        headers = frame.headers
        key = None
        message_id = message_id_of(headers)
        if message_id is None and self.dialect.keeps_message_ids:
            message_id = headers.get("message-id")
        if message_id is not None and not (frame.defects and "\ufffd" in message_id):
            # If invalid bytes were replaced, two different ids may look the same.
            key = (handler.id, message_id)
        redelivered = headers.get("redelivered") == "true"
        failures = self._failures.get(key)
        if redelivered:  # at the first delivery, the sender has written such a header
            failures = max(failures, *(_number(headers.get(name)) for name in DELIVERY_COUNTS))
        delivery = Delivery(frame, handler, self._number, key, redelivered or failures > 0, failures)
        if self.ack_mode(handler) == "client":
            self.cumulative_acks(handler).add(delivery)
        return delivery


class CumulativeAcks:
    """The unacknowledged deliveries of one subscription in one session, in order.

    In the ack mode ``client``, an ACK also acknowledges all earlier messages. Handlers end in any order, so an ACK is
    sent only for a message before which all messages are done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.deque[Delivery] = collections.deque()
        self._acknowledging = False

    def add(self, delivery: Delivery) -> None:
        """Add *delivery*. Deliveries must be added in the order in which they came."""
        with self._lock:
            self._open.append(delivery)

    def finish(self, delivery: Delivery, acknowledge: typing.Callable[[Delivery], object]) -> bool:
        """Mark *delivery* as done, and send the ACK that is now possible. Returns false if its session has ended."""
        with self._lock:
            if delivery not in self._open:
                return False
            delivery.done = True
            if self._acknowledging:  # one thread at a time, so that the broker gets the acknowledgements in order
                return True
            self._acknowledging = True
        while True:
            with self._lock:
                last = None
                while self._open and self._open[0].done:
                    last = self._open.popleft()
                if last is None:
                    self._acknowledging = False
                    return True
            try:
                acknowledge(last)
            except BaseException:
                self._acknowledging = False  # otherwise no later message would be acknowledged
                raise


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
