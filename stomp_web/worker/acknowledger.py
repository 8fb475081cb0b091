"""The acknowledger decides about each message: ACK, NACK, another try or a dead letter.

* When the handler returns, the acknowledger sends ACK. In the ack mode ``client``, it first waits until all earlier
  messages of the subscription are done, too. With ``ack="auto"``, ACK is sent right before the handler runs.
* When the handler raises, the message is tried again after a pause. Some brokers, such as RabbitMQ, requeue a
  message after NACK. With these brokers, the acknowledger sends NACK under four conditions: the message has a usable id
  (see `Delivery`), no ACK was sent, SUBSCRIBE had the ack mode ``client-individual``, and the version of STOMP is not
  1.0. Otherwise, the worker itself keeps and retries the message.
* A handler with ``once=True`` needs the database of an inbox. If this database has a fault, the worker keeps the
  message until the database works. The fault does not count as a failure of the message. But with ``ack="auto"``, the
  fault counts, because the broker no longer has the message.
* If a message breaks STOMP's rules, the handler gets the part that could be read. A message that exceeds a limit
  becomes a dead letter at once.
* If a message has failed too often or can never be handled, the worker sends a dead letter. After the broker has
  confirmed the dead letter, the worker sends ACK for the message. If the dead letter cannot be sent, the worker tries
  again later.
* If the session of an unacknowledged message has ended, no ACK is sent. The broker delivers the message again.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import typing

from .._internal.log import get_logger
from .._internal.printable import sentence
from ..client.duplex import QueueingDuplexClient
from ..errors import DeliveryUnknown, InvalidFrame, MessageError, NotSent
from .dead_letters import DeadLetters
from .delivery import CurrentSession, Delivery, Duplicates, FailureCounts, Step
from .error_text import error_in_one_line, short_text, traceback_text
from .events import WorkerEvents
from .executors import Failure
from .inbox import Inbox

__all__ = ["Acknowledger", "Counters"]

_log = get_logger("worker")

_LONGEST_PAUSE = 30.0  # seconds between two tries


class Counters:
    """Counters that many threads increase. Each counter has the name of a field of `WorkerStats`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: collections.Counter[str] = collections.Counter()

    def add(self, name: str) -> None:
        """Add 1 to the counter *name*."""
        with self._lock:
            self._numbers[name] += 1

    def snapshot(self) -> collections.Counter[str]:
        """Return a copy of all counters, taken at one moment."""
        with self._lock:
            return self._numbers.copy()


@dataclasses.dataclass(frozen=True, slots=True, repr=False, eq=False)
class Acknowledger:
    """Sends ACK, NACK and dead letters. Worker threads call the methods before and after they call a handler."""

    _client: QueueingDuplexClient
    _session: CurrentSession
    _inbox: Inbox
    _dead_letters: DeadLetters
    _duplicates: Duplicates
    _failures: FailureCounts
    _counters: Counters
    _max_redeliveries: int
    _retry_delay: float
    #: The events for the worker's observers.
    events: WorkerEvents

    def admit(self, delivery: Delivery) -> bool:
        """Return whether to call the handler. With ``ack="auto"``, send ACK first.

        The result is false for a duplicate, for a message that is too large, and after the end of the session. If the
        message was handled before, the duplicate is acknowledged. If a handler still has the message, the worker
        calls this method for the duplicate again when that handler has ended.
        """
        if self._is_stale(delivery):
            return False
        self.events.received(delivery)
        if delivery.handler.ack == "auto" and not delivery.acknowledged_first:
            if not self._tell_broker("ACK", delivery):
                return False  # the broker delivers the message again
            delivery.acknowledged_first = True
        kind = self._duplicates.begin(delivery)
        if kind == "done":
            self._counters.add("duplicates")
            _log.info("dropped a duplicate of %s", delivery)
            self._acknowledge(delivery)
        if kind != "new":
            return False
        defects = "; ".join(delivery.frame.defects)
        if delivery.frame.truncated:
            self.failed(delivery, Failure(f"too large to be read: {defects}", permanent=True))
            return False
        if defects:
            _log.warning("%s: %s", delivery, defects)
        return True

    def succeeded(self, delivery: Delivery) -> None:
        """Record that the handler has returned, and acknowledge the message if ACK is due and was not sent before."""
        self._counters.add("handled")
        self._failures.set(delivery.key, 0)
        self._release_duplicates(delivery, handled=True)
        self._acknowledge(delivery)
        self.events.handled(delivery)

    def failed(self, delivery: Delivery, failure: Failure) -> None:
        """Record that the handler raised or could not be called, and plan the next step."""
        if not failure.counts and not delivery.acknowledged_first:
            self._postpone(delivery, failure)
            return
        delivery.error = failure.error
        self._count_failure(delivery)
        last = failure.permanent or delivery.failures > self._max_redeliveries
        next_step = f"it goes to {self._dead_letters.destination}" if last else f"this was failure {delivery.failures}"
        details = f"\n{failure.details}" if failure.details else ""
        error = short_text(failure.error)
        _log.error("%s failed with %s: %s; %s%s", delivery.handler.name, delivery, error, next_step, details)
        self._release_duplicates(delivery, handled=False)
        if self._is_stale(delivery):
            return
        if last:
            self.dead_letter(delivery)
        elif self._can_requeue(delivery):
            self._inbox.later(self._pause(delivery.failures), Step.REQUEUE, delivery)
        else:
            self._handle_again(delivery, self._pause(delivery.failures))

    def _postpone(self, delivery: Delivery, failure: Failure) -> None:
        """Plan another try in this worker. NACK is not sent, because a broker could count NACK as a failure."""
        delivery.postponed += 1
        pause = self._pause(delivery.postponed)
        _log.warning("%s waits, the next try is in %.1f s: %s", delivery, pause, short_text(failure.error))
        self._release_duplicates(delivery, handled=False)
        if not self._is_stale(delivery):
            self._handle_again(delivery, pause)

    def interrupted(self, delivery: Delivery, error: BaseException) -> None:
        """Plan the next step after an exception that does not come from the handler, such as a bug of the worker.

        NACK is not sent, because sending could raise. Logging comes last, because logging could raise.
        """
        text = error_in_one_line(error)
        delivery.error = delivery.error or text
        self._count_failure(delivery)
        self._release_duplicates(delivery, handled=False)
        step = Step.HANDLE if delivery.failures <= self._max_redeliveries else Step.DEAD_LETTER
        if not self._session.redelivers(delivery):
            self._inbox.later(self._pause(delivery.failures), step, delivery)
        words = "an unexpected error interrupted the handling of %s; it is tried again: %s\n%s"
        _log.error(words, delivery, short_text(text), traceback_text(error))

    def requeue(self, delivery: Delivery) -> None:
        """Send NACK, so that the broker returns the message to its queue."""
        try:
            if self._tell_broker("NACK", delivery):
                self._counters.add("given_back")
                self.events.given_back(delivery)
        except InvalidFrame:  # CoilMQ 1.1 sends no ack header in STOMP 1.2
            self._handle_again(delivery, 0.0)

    def dead_letter(self, delivery: Delivery) -> None:
        """Send a dead letter. After the broker has confirmed the dead letter, acknowledge the message."""
        if self._is_stale(delivery):
            return
        error = self._dead_letters.send(delivery)
        if error is None:
            self._counters.add("dead_lettered")
            self._failures.set(delivery.key, 0)
            self._acknowledge(delivery)
            self.events.dead_lettered(delivery, self._dead_letters.destination)
            return
        pause = self._pause(delivery.dead_letter_tries + 3)
        _log.error(
            "message %s could not be sent to %s: %s It stays unacknowledged, the next try is in %.1f s",
            delivery.name,
            self._dead_letters.destination,
            sentence(error if isinstance(error, MessageError) else error_in_one_line(error)),
            pause,
        )
        self._inbox.later(pause, Step.DEAD_LETTER, delivery)

    def _is_stale(self, delivery: Delivery) -> bool:
        stale = self._session.redelivers(delivery)
        if stale:
            self._counters.add("stale")
        return stale

    def _can_requeue(self, delivery: Delivery) -> bool:
        return (
            self._session.dialect.nack_requeues
            and delivery.key is not None
            and not delivery.acknowledged_first
            and self._session.ack_mode(delivery.handler) == "client-individual"
            and self._client.version != "1.0"
        )

    def _handle_again(self, delivery: Delivery, pause: float) -> None:
        self._counters.add("retried")
        self._inbox.later(pause, Step.HANDLE, delivery)

    def _count_failure(self, delivery: Delivery) -> None:
        self._counters.add("failed")
        delivery.failures += 1
        delivery.redelivered = True
        self._failures.set(delivery.key, delivery.failures)
        self.events.failed(delivery)

    def _release_duplicates(self, delivery: Delivery, handled: bool) -> None:
        for other in self._duplicates.end(delivery, handled):
            self._inbox.later(0.0, Step.HANDLE, other)

    def _pause(self, failures: int) -> float:
        return float(min(self._retry_delay * 2 ** min(failures - 1, 30), _LONGEST_PAUSE))

    def _acknowledge(self, delivery: Delivery) -> None:
        if delivery.acknowledged_first:
            return
        handler = delivery.handler
        if self._session.ack_mode(handler) == "client-individual":
            self._send_ack(delivery)
        elif not self._session.cumulative_acks(handler).finish(delivery, self._send_ack):
            self._counters.add("stale")

    def _send_ack(self, delivery: Delivery) -> None:
        try:
            self._tell_broker("ACK", delivery)
        except InvalidFrame:
            _log.exception("message %s cannot be acknowledged; it will come again", delivery.name)

    def _tell_broker(self, command: typing.Literal["ACK", "NACK"], delivery: Delivery) -> bool:
        """Send ACK or NACK, and return whether this succeeded. Raises `InvalidFrame` if the frame cannot be built."""
        try:
            if command == "ACK":
                self._client.ack(delivery.frame)
            else:
                self._client.nack(delivery.frame, headers=self._session.dialect.nack_requeue_headers)
            return True
        except InvalidFrame:
            raise
        except (NotSent, DeliveryUnknown) as error:
            # The session of the message has ended: the broker still has the message, and delivers it again.
            _log.info("the %s of message %s was not sent: %s", command, delivery.name, error)
        except Exception:  # noqa: BLE001 - it is unknown whether the broker got the frame
            text = "the %s of message %s has failed; the session is ended, so that the broker delivers it again"
            _log.exception(text, command, delivery.name)
            self._client.close()
        self._counters.add("stale")
        return False
