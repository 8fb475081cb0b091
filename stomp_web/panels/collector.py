"""The collector: an observer of publishers that records the messages of one context, such as a request.

A context (`contextvars`) belongs to one thread or one task. A request includes the tasks that it starts, and the
threads that run in a copy of its context (`asyncio.to_thread`). A request does not include a new `threading.Thread`.

The collector uses no lock, because a signal handler may send a message. If the interrupted thread held the lock, the
handler would wait for ever. Every change of shared state is atomic: CPython 3.11 to 3.15 switches threads only at calls
and at the end of a loop iteration.
"""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import itertools
import typing

from ..errors import DeliveryUnknown, MessageError, Rejected, StompError
from ..observers import Event, SendBegan, SendDeferred, SendFailed, SendSucceeded, StoreBegan, installers
from ..publisher import Publisher

__all__ = ["LIMIT", "Collection", "Outcome", "Record", "collector", "current", "watch"]

#: How many messages a collection records.
LIMIT: typing.Final = 500
_LONGEST_ERROR: typing.Final = 2_000  # characters


class Outcome(enum.Enum):
    """The last known state of a message, such as confirmed, rejected or stored in the outbox."""

    CONFIRMED = "confirmed"  # the broker's receipt has come
    SENT = "sent, not confirmed"  # it was sent with confirm=False
    NOT_SENT = "not sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"  # it may have arrived
    SENDING = "being sent"  # the send has not ended
    STORED = "in the outbox"
    DEFERRED = "not sent yet"  # the message waits for a commit

    @property
    def failed(self) -> bool:
        """Whether this outcome is a failure."""
        return self in (Outcome.NOT_SENT, Outcome.REJECTED, Outcome.UNKNOWN)


@dataclasses.dataclass(slots=True)
class Record:
    """One message. If the message was sent again with the same id, `outcome` belongs to the last send.

    `sends` is the number of calls that sent the message. `seconds` is the total time of the calls that have
    ended, or ``None`` if no call has ended. `together` is the number of messages in the last ended call. `error` is the
    last error, even if a later send has succeeded. `stored` says whether the message was for an outbox. After a failed
    call or a rollback, the outbox has no row for the message.
    """

    message_id: str
    destination: str
    body_bytes: int
    outcome: Outcome
    seconds: float | None = None
    together: int = 1
    sends: int = 0
    error: str = ""
    stored: bool = False


class _Call:
    """The records of one call of ``send`` or of one batch, in order. `ended` counts records whose send has ended."""

    __slots__ = ("ended", "records")

    def __init__(self) -> None:
        self.records: list[Record | None] = []
        self.ended = 0


class Collection:
    """The messages that are sent between `begin` and `end` in one context, without their bodies and headers.

    `records` has at most `LIMIT` messages. `is_full` says whether there were more. `seconds` is the total time of all
    calls, including the calls for messages that are not in `records`.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.is_full = False
        self.seconds = 0.0
        self.is_open = False
        self._more_failures = 0  # of messages that are not in `records`
        self._by_id: dict[tuple[str, str], Record] = {}
        self._next_number = itertools.count().__next__
        self._outer: Collection | None = None

    @property
    def failures(self) -> int:
        """The number of failed messages in `records`, plus the failed sends of messages that are not in `records`."""
        return sum(record.outcome.failed for record in list(self.records)) + self._more_failures

    def begin(self) -> None:
        """Start to record the messages of the current context. The context's previous collection pauses until `end`."""
        if not self.is_open:
            self._outer = _current.get()
            self.is_open = True
            _current.set(self)

    def end(self) -> None:
        """Stop recording, even in threads and tasks that still run. The outer collection, if any, records again."""
        if self.is_open:
            self.is_open = False
            if _current.get() is self:  # not in another context, where a reset would be an error
                _current.set(self._outer)
            self._outer = None

    def record(self, event: Event) -> None:
        """Record *event*. Events that are not about sending are ignored."""
        match event:
            case SendBegan():
                self._send_began(event)
            case SendSucceeded() | SendFailed():
                self._send_ended(event)
            case StoreBegan():
                record = self._record(event)
                if record is not None:
                    record.outcome, record.stored = Outcome.STORED, True
            case SendDeferred():
                record = self._record(event)
                if record is not None:
                    record.outcome = Outcome.DEFERRED

    def _record(self, event: SendBegan | SendDeferred | StoreBegan) -> Record | None:
        """Return the record of the event's message. If the message has no record, make a new record.

        Return ``None`` instead of a new record if `LIMIT` records exist already.
        """
        key = event.message_id, event.destination
        known = self._by_id.get(key)
        if known is not None:
            return known
        if self._next_number() >= LIMIT:
            self.is_full = True
            return None
        record = Record(event.message_id, event.destination, event.body_bytes, Outcome.SENDING)
        self.records.append(record)
        if event.message_id:
            self._by_id[key] = record
        return record

    def _send_began(self, event: SendBegan) -> None:
        notes = event.call.notes
        call: _Call | None = notes.get(self)
        if call is None:
            call = notes[self] = _Call()
        record = self._record(event)
        call.records.append(record)
        if record is not None:
            record.outcome = Outcome.SENDING
            record.sends += 1

    def _send_ended(self, event: SendSucceeded | SendFailed) -> None:
        call: _Call | None = event.call.notes.get(self)
        if call is None:  # the send has begun outside of this collection
            return
        position, count = call.ended, len(call.records)
        record = call.records[position]
        call.ended += 1
        if call.ended == count:
            del event.call.notes[self]
            self.seconds += event.seconds
        if record is None:
            if isinstance(event, SendFailed):
                self._more_failures += 1
            return
        record.seconds = event.seconds + (record.seconds or 0.0)
        record.together = count
        if isinstance(event, SendSucceeded):
            record.outcome = Outcome.CONFIRMED if event.confirmed else Outcome.SENT
        else:
            record.outcome = _outcome(event.error, position)
            # The error itself would keep its traceback.
            record.error = f"{type(event.error).__name__}: {event.error}"[:_LONGEST_ERROR]


def _outcome(error: BaseException, position: int) -> Outcome:
    """Return the outcome of one message after a call has failed with *error*.

    *position* is the position of the message among the messages of the call.
    """
    if isinstance(error, MessageError) and position in error.not_sent:
        return Outcome.NOT_SENT
    if isinstance(error, Rejected):
        return Outcome.REJECTED
    if isinstance(error, DeliveryUnknown) or not isinstance(error, StompError):
        return Outcome.UNKNOWN
    return Outcome.NOT_SENT


def current() -> Collection | None:
    """Return the collection of the current context, or ``None``.

    The returned collection has already ended if another context has called `Collection.end`.
    """
    return _current.get()


_current: contextvars.ContextVar[Collection | None] = contextvars.ContextVar("stomp_web_messages", default=None)


class _Collector:
    """The observer of all publishers. The observer gives each event to the collection of the current context."""

    def listens(self) -> bool:
        """Return whether the current context has an open collection."""
        collection = _current.get()
        return collection is not None and collection.is_open

    def __call__(self, event: Event) -> None:
        """Record *event*, if the current context has an open collection."""
        collection = _current.get()
        if collection is not None and collection.is_open:
            collection.record(event)


#: The one observer of all publishers.
collector: typing.Final = _Collector()


def watch(*publishers: Publisher) -> None:
    """Observe *publishers*, and every publisher that is made later. A publisher is never observed twice."""
    if _install not in installers:
        installers.append(_install)
    for publisher in publishers:
        _install(publisher)


def _install(made: typing.Any) -> None:
    # Workers have observers, too, but they send no messages.
    if isinstance(made, Publisher):
        known = made.observers.known
        if collector not in known:
            made.observers.known = (*known, collector)  # once, also if two threads are here together
