"""The current session with the broker, as far as deliveries and acknowledgements depend on it."""

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

# How often a quorum queue of RabbitMQ has delivered a message before. 3.10.8 has one header for all these deliveries.
# 4.3.6 counts all of them in x-acquired-count; its x-delivery-count counts only those that ended with the connection.
DELIVERY_COUNTS: typing.Final = ("x-acquired-count", "x-delivery-count")


class CurrentSession:
    """The session's number and dialect, and its cumulative ACKs. *failures* are known from earlier deliveries."""

    def __init__(self, failures: FailureCounts) -> None:
        self._failures = failures
        self._number = 0  # changes when a session begins, and when it ends
        self._cumulative: dict[str, CumulativeAcks] = {}
        self.dialect: Dialect = GENERIC

    def begin(self, server: str | None) -> None:
        """Note that a session has begun, with a broker that names itself *server*."""
        self.dialect = choose_dialect(server)
        self._number += 1
        self._cumulative.clear()

    def end(self) -> None:
        """Note that the session has ended."""
        self._number += 1

    def redelivers(self, delivery: Delivery) -> bool:
        """Whether the broker delivers the message again anyhow, because the session of *delivery* has ended."""
        return delivery.session != self._number and not delivery.acknowledged_first

    def ack_mode(self, handler: Handler) -> str:
        """The ack mode in the SUBSCRIBE of *handler*: never ``auto``, because messages that wait here could be lost."""
        return "client" if handler.ack == "client" and not self.dialect.acks_over_all else "client-individual"

    def cumulative_acks(self, handler: Handler) -> CumulativeAcks:
        """The deliveries of *handler* in this session, if the handler's ack mode is ``client``."""
        return self._cumulative.setdefault(handler.id, CumulativeAcks())

    def new_delivery(self, frame: Frame, handler: Handler) -> Delivery:
        """Return the delivery of *frame*. Must be called in the order in which the frames came."""
        headers = frame.headers
        key = None
        message_id = message_id_of(headers)
        if message_id is None and self.dialect.keeps_message_ids:
            message_id = headers.get("message-id")
        if message_id is not None and not (frame.defects and "\ufffd" in message_id):
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


class CumulativeAcks:
    """The deliveries of one subscription in one session that are not acknowledged, in the order of the messages.

    In the ack mode ``client`` an ACK stands for all earlier messages, too. Handlers end in any order, so a message is
    acknowledged when it and all earlier ones are done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.deque[Delivery] = collections.deque()
        self._acknowledging = False

    def add(self, delivery: Delivery) -> None:
        """Add *delivery*, which came after all that were added before."""
        with self._lock:
            self._open.append(delivery)

    def finish(self, delivery: Delivery, acknowledge: typing.Callable[[Delivery], object]) -> bool:
        """Mark *delivery* as done, and acknowledge as far as possible. ``False`` if it is of another session."""
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
                self._acknowledging = False  # otherwise nothing of this subscription would be acknowledged any more
                raise


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
