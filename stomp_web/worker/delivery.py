"""The state of messages on their way through the worker, and of the current session.

`FailureCounts` keeps the counts of a limited number of messages. `Duplicates` keeps a limited number of handled
messages.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import threading
import typing

from ..client.message import message_id_of
from ..connection.dialect import GENERIC, Dialect, choose_dialect
from ..protocol import Frame
from .error_text import short_text
from .handlers import Handler

__all__ = ["DELIVERY_COUNTS", "CurrentSession", "Delivery", "Duplicates", "FailureCounts", "Key", "Step"]

_MOST_FAILURES = 10_000  # counts that are kept; if there are more, the oldest is forgotten

# A quorum queue of RabbitMQ counts earlier deliveries in these headers. RabbitMQ 3.10.8 counts all in x-delivery-count.
# RabbitMQ 4.3.6 counts all in x-acquired-count; its x-delivery-count counts only those that ended with the connection.
DELIVERY_COUNTS: typing.Final = ("x-acquired-count", "x-delivery-count")

#: The subscription's id and the message's id. Both are needed, because two handlers of a topic get the same message.
Key = tuple[str, str]


class Step(enum.Enum):
    """The next step for a message: call the handler, send NACK or send a dead letter."""

    HANDLE = "handle"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead-letter"


@dataclasses.dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through the worker.

    * `session` - the number of the session in which the broker sent the message.
    * `key` - identifies the message when the broker delivers the message again. ``None`` if the message has no usable
      id. An id is usable if each delivery of the message has the same id, and if the parser did not have to replace
      invalid bytes in the id.
    * `failures` - how often the handling has failed.
    * `error` - the last failure, in one line.
    * `acknowledged_first` - whether ACK was sent before the handler was called. If true, the broker no longer has the
      message.
    * `dead_letter_tries` - how many tries to send the dead letter have failed.
    * `lost` - how many of these tries have lost the connection.
    * `refused` - whether the broker refused the dead letter, or seems to have refused it.
    * `postponed` - how many tries to handle the message have failed without a fault of the message. `failures` does not
      count these tries.
    * `done` - with cumulative ACKs, whether the handling has ended. The ACK may still wait for earlier messages.
    * `announced` - whether the observers were notified of the delivery.
    * `seconds` - how long the last call of the handler took. Measured only if there are observers.
    """

    frame: Frame
    handler: Handler
    session: int
    key: Key | None
    redelivered: bool
    failures: int
    error: str = ""
    acknowledged_first: bool = False
    dead_letter_tries: int = 0
    lost: int = 0
    refused: bool = False
    done: bool = False
    postponed: int = 0
    announced: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The message's id for the log, escaped and shortened. A sender cannot forge a log line with the id."""
        headers = self.frame.headers
        return short_text(message_id_of(headers) or headers.get("message-id", ""))

    def __str__(self) -> str:
        return f"message {self.name} from {self.handler.destination}"


class FailureCounts:
    """How often each message has failed in this worker. A message without a usable id is not counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.OrderedDict[Key | None, int] = collections.OrderedDict()

    def get(self, key: Key | None) -> int:
        """Return how often the message with *key* has failed so far."""
        return self._counts.get(key, 0)

    def set(self, key: Key | None, failures: int) -> None:
        """Store how often the message with *key* has failed. If *failures* is 0, delete the message's count."""
        with self._lock:
            self._counts.pop(key, None)
            if failures and key is not None:
                self._counts[key] = failures
                if len(self._counts) > _MOST_FAILURES:
                    self._counts.popitem(last=False)


class Duplicates:
    """Remembers the messages that handlers have now, and the latest handled messages.

    At most *size* handled messages are remembered. If *size* is 0, no message is remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._done: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._busy: dict[Key, list[Delivery]] = {}

    def begin(self, delivery: Delivery) -> typing.Literal["new", "done", "busy"]:
        """Return ``done`` if the message was handled, ``busy`` if it is being handled now, and otherwise ``new``."""
        key = delivery.key
        if not self._size or key is None:
            return "new"
        with self._lock:
            if key in self._done:
                return "done"
            if key in self._busy:
                self._busy[key].append(delivery)
                return "busy"
            self._busy[key] = []
            return "new"

    def end(self, delivery: Delivery, handled: bool) -> list[Delivery]:
        """Record that the handler has ended. *handled* is whether the message was handled.

        Returns the message's other deliveries, for which `begin` returned ``busy``.
        """
        key = delivery.key
        if not self._size or key is None:
            return []
        with self._lock:
            if handled:
                self._done[key] = None
                if len(self._done) > self._size:
                    self._done.popitem(last=False)
            return self._busy.pop(key, [])


class CurrentSession:
    """The number, the dialect and the cumulative ACKs of the current session.

    *failures* counts the failures of each message.
    """

    def __init__(self, failures: FailureCounts) -> None:
        self._failures = failures
        self._number = 0  # changes when a session begins, and when it ends
        self._cumulative: dict[str, CumulativeAcks] = {}
        self.dialect: Dialect = GENERIC

    def begin(self, server: str | None) -> None:
        """Record that a session has begun. *server* is the ``server`` header of the broker."""
        self.dialect = choose_dialect(server)
        self._number += 1
        self._cumulative.clear()

    def end(self) -> None:
        """Record that the session has ended."""
        self._number += 1

    def redelivers(self, delivery: Delivery) -> bool:
        """Return whether the session of *delivery* ended before the worker sent ACK.

        If so, the broker delivers the message again.
        """
        return delivery.session != self._number and not delivery.acknowledged_first

    def ack_mode(self, handler: Handler) -> str:
        """Return the ack mode for SUBSCRIBE: ``client`` or ``client-individual``.

        The worker never subscribes with ``auto``, because messages that wait in the worker could then be lost.
        """
        return "client" if handler.ack == "client" and not self.dialect.acks_over_all else "client-individual"

    def cumulative_acks(self, handler: Handler) -> CumulativeAcks:
        """Return the unacknowledged deliveries of *handler* in this session.

        Call this method only if `ack_mode` returns ``client`` for *handler*.
        """
        return self._cumulative.setdefault(handler.id, CumulativeAcks())

    def new_delivery(self, frame: Frame, handler: Handler) -> Delivery:
        """Return the delivery of *frame*. The caller must pass frames in the order of their arrival."""
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
        if redelivered:  # at the first delivery, such a header comes from the sender
            failures = max(failures, *(_number(headers.get(name)) for name in DELIVERY_COUNTS))
        delivery = Delivery(frame, handler, self._number, key, redelivered or failures > 0, failures)
        if self.ack_mode(handler) == "client":
            self.cumulative_acks(handler).add(delivery)
        return delivery


class CumulativeAcks:
    """The unacknowledged deliveries of one subscription in one session, in the order of their arrival.

    In the ack mode ``client``, an ACK also acknowledges all earlier messages. Handlers may end in any order. The ACK
    for a message is sent only when the message and all earlier messages are done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.deque[Delivery] = collections.deque()
        self._acknowledging = False

    def add(self, delivery: Delivery) -> None:
        """Add *delivery*. The caller must add deliveries in the order of their arrival."""
        with self._lock:
            self._open.append(delivery)

    def finish(self, delivery: Delivery, acknowledge: typing.Callable[[Delivery], object]) -> bool:
        """Mark *delivery* as done. If an ACK is due, call *acknowledge*.

        Return false if *delivery* is not in this object. In this case, the session of *delivery* has ended.
        """
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
