"""Exchanges: the frames that a call hands over for writing, and the receipts that the call waits for.

The lock of the `Driver` guards all exchanges. To call a method of `Exchange` or `Exchanges`, a thread must hold the
lock. The properties of the two classes need no lock.
"""

from __future__ import annotations

import collections
import dataclasses
import typing

from ..connection.session import Session
from ..errors import ConnectionLost, MessageError, Rejected, StompError
from ..protocol import Frame
from .outcome import not_whole, whole_frames

__all__ = ["Exchange", "Exchanges", "lost"]


@dataclasses.dataclass(slots=True, eq=False)
class Exchange:
    """The frames of one call. *receipts* holds the ids of the receipts that the call waits for.

    If *receipts* is empty, the call waits for no answer. If *together* is true, the frames have one common outcome. For
    example, the broker accepts the frames of a transaction together at COMMIT.
    """

    data: memoryview
    receipts: typing.Sequence[str] = ()
    together: bool = False
    #: The number of written bytes of `data`.
    left: int = 0
    #: The number of unconfirmed frames of the session before this exchange.
    unconfirmed_before: int = 0
    error: MessageError | None = None
    #: The receipts that have not come yet.
    waiting: set[str] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.waiting = set(self.receipts)

    @property
    def written(self) -> bool:
        """Whether all bytes were written."""
        return self.left == len(self.data)

    @property
    def confirmed(self) -> tuple[int, ...]:
        """The positions of the confirmed messages. Frames with one common outcome have none."""
        if self.together:
            return ()
        return tuple(position for position, receipt in enumerate(self.receipts) if receipt not in self.waiting)

    def fail(self, error: MessageError, cause: StompError | None = None) -> None:
        """End the exchange with *error*. If the exchange already has an error, do nothing."""
        if self.error is None:
            self.error = error
            error.__cause__ = cause


class Exchanges:
    """The unfinished exchanges of one client."""

    def __init__(self) -> None:
        self._outgoing: collections.deque[Exchange] = collections.deque()
        #: The number of bytes that wait to be written.
        self.backlog = 0
        # Whether a thread writes the first exchange of `_outgoing`. During the write, `left` may be wrong.
        self._in_write = False
        self._awaited: dict[str, Exchange] = {}
        self._next_receipt = 1
        self.begin()

    def begin(self) -> None:
        """Reset the counters for a new session."""
        # How many frames outside of transactions ask for no receipt, and how many of these a later receipt has covered.
        # An ERROR may be about a frame that is not covered.
        self._unconfirmed = self._covered = 0

    @property
    def awaiting(self) -> bool:
        """Whether a call waits for a receipt."""
        return bool(self._awaited)

    def new_receipts(self, count: int) -> list[str]:
        """Return *count* new receipt ids. The ids are consecutive numbers."""
        first = self._next_receipt
        self._next_receipt += count
        return [str(number) for number in range(first, self._next_receipt)]

    def add(self, exchange: Exchange) -> None:
        """Queue *exchange* for writing."""
        self._append(exchange)
        exchange.unconfirmed_before = self._unconfirmed
        self._awaited.update(dict.fromkeys(exchange.receipts, exchange))
        if not exchange.receipts and not exchange.together:  # the COMMIT's receipt covers a transaction's frames
            self._unconfirmed += 1

    def add_heart_beat(self) -> None:
        """Queue a heart-beat if no bytes are queued. Otherwise, the queued bytes serve as the heart-beat."""
        if not self._outgoing:
            self._append(Exchange(memoryview(b"\n")))

    def _append(self, exchange: Exchange) -> None:
        self._outgoing.append(exchange)
        self.backlog += len(exchange.data)

    def begin_write(self) -> Exchange | None:
        """Return the next exchange to write, if any. Until `end_write`, the number of written bytes is not known."""
        self._in_write = bool(self._outgoing)
        return self._outgoing[0] if self._in_write else None

    def end_write(self, exchange: Exchange, sent: int) -> None:
        """Add *sent* to the number of written bytes of *exchange*."""
        exchange.left += sent
        if self._outgoing and self._outgoing[0] is exchange:  # otherwise the session has ended meanwhile
            self.backlog -= sent
            if exchange.written:
                self._outgoing.popleft()
        self._in_write = False  # last: after an interrupt before this line, it is not known what was written

    def take_receipt(self, receipt: str) -> None:
        """Handle a RECEIPT frame with the id *receipt*."""
        exchange = self._awaited.pop(receipt, None)
        if exchange is not None:
            exchange.waiting.discard(receipt)
            self._covered = max(self._covered, exchange.unconfirmed_before)

    def take_refusal(self, session: Session, frame: Frame, words: str, in_transaction: bool) -> None:
        """Fail the exchange that the ERROR *frame* refuses. If the ERROR may be about other frames, fail no exchange.

        *words* is the text of the ERROR. *in_transaction* means that a transaction is open. In this case, an ERROR
        without ``receipt-id`` fails no exchange, because the ERROR may be about a frame of the transaction, for which
        no exchange waits before COMMIT.
        """
        named = frame.headers.get("receipt-id")
        exchange = None if named is None else self._awaited.get(named)
        candidates = set(self._awaited.values())
        if named is None and len(candidates) == 1 and self._unconfirmed == self._covered and not in_transaction:
            (exchange,) = candidates
        if exchange is not None:
            exchange.error = _refusal(exchange, session, frame, words)

    def give_up(self, exchange: Exchange) -> None:
        """Stop waiting for *exchange*. A later ERROR may still be about the frames of *exchange*."""
        if exchange.waiting and exchange.error is None:
            self._unconfirmed += 1
        for receipt in exchange.waiting:
            self._awaited.pop(receipt, None)

    def end(self, session: Session, reason: StompError) -> None:
        """Fail all unfinished exchanges, because *session* has ended."""
        not_written = list(self._outgoing)[int(self._in_write) :]
        for exchange in not_written:
            exchange.fail(_not_written(exchange, session, reason), reason)
        for exchange in set(self._awaited.values()):
            exchange.fail(lost(session, reason), reason)
        self._awaited.clear()
        self._outgoing.clear()
        self._in_write = False
        self.backlog = 0


def lost(session: Session, reason: StompError | None) -> ConnectionLost:
    """Return the exception for frames that may have been sent before *session* ended."""
    return ConnectionLost(f"{reason}; whether the frame arrived is not known", broker=session.broker)


def _not_written(exchange: Exchange, session: Session, reason: StompError) -> MessageError:
    data = exchange.data
    count = 1 if exchange.together else len(exchange.receipts) or whole_frames(data, session.version)
    whole = 0 if exchange.together else whole_frames(data[: exchange.left], session.version)
    return not_whole(session, str(reason), exchange.left, len(data), whole, count, exchange.confirmed)


def _refusal(exchange: Exchange, session: Session, frame: Frame, words: str) -> MessageError:
    rejection = Rejected(f"{words}. It was not taken", broker=session.broker, frame=frame)
    if exchange.together or len(exchange.waiting) == 1:
        return rejection
    unknown = ConnectionLost(
        f"{words}, which ended the session; which of the others it has taken is not known",
        broker=session.broker,
        frame=frame,
    )
    unknown.__cause__ = rejection
    return unknown
