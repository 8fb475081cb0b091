"""What was handed over to be written, and which receipts are awaited.

A call of any thread hands over an `Exchange`: the bytes of its frames, and the receipts that they ask for. The thread
that drives the connection writes the bytes and takes in the receipts; the calling thread waits until its exchange is
done. When the session ends, each exchange gets the error that says what is then true of its messages.

`Exchanges` owns the line of bytes to be written, the awaited receipts, and the count of frames that no receipt has
covered. All of it, and each `Exchange`, is guarded by the lock of the `Driver`; the methods are called with it held.
"""

from __future__ import annotations

import collections
import itertools
import typing

from ..connection.session import Session
from ..errors import BrokerUnavailable, ConnectionLost, MessageError, NotSent, Rejected, StompError
from ..protocol import Frame
from .written import limit_hint, whole_frames

__all__ = ["Exchange", "Exchanges", "lost"]


class Exchange:
    """The frames of one call, and what its caller waits for: *receipts*, or that the bytes are written.

    *together*: all of it is about one thing, a transaction, of which nothing is taken without a COMMIT.
    """

    __slots__ = ("data", "error", "left", "receipts", "together", "unconfirmed_before", "waiting")

    def __init__(self, data: memoryview, receipts: typing.Sequence[str] = (), *, together: bool = False) -> None:
        self.data = data
        self.receipts = receipts
        self.together = together
        #: How many bytes of `data` have left.
        self.left = 0
        #: The receipts that have not come yet.
        self.waiting = set(receipts)
        #: How many unconfirmed frames of the session were handed over before.
        self.unconfirmed_before = 0
        self.error: MessageError | None = None

    @property
    def written(self) -> bool:
        """Whether all bytes have left."""
        return self.left == len(self.data)

    @property
    def confirmed(self) -> tuple[int, ...]:
        """The positions of the receipts that have come."""
        return tuple(position for position, receipt in enumerate(self.receipts) if receipt not in self.waiting)

    def fail(self, error: MessageError, cause: StompError | None = None) -> None:
        """End it with *error*, unless it has one."""
        if self.error is None:
            self.error = error
            error.__cause__ = cause


class Exchanges:
    """The exchanges of one client that are not done."""

    def __init__(self) -> None:
        self._outgoing: collections.deque[Exchange] = collections.deque()
        #: Bytes that wait to be written.
        self.backlog = 0
        # The first of `_outgoing` is being written, and it is not known yet how much of it has left.
        self._in_write = False
        self._awaited: dict[str, Exchange] = {}
        self._receipt_ids = itertools.count(1)
        self.begin()

    def begin(self) -> None:
        """A session has begun."""
        # Frames outside of transactions that have asked for no receipt, or whose caller has given up waiting for it;
        # and how many of them a later receipt has covered. An ERROR may be about one of the rest.
        self._unconfirmed = self._covered = 0

    @property
    def awaiting(self) -> bool:
        """Whether a call waits for a receipt."""
        return bool(self._awaited)

    def next_receipt(self) -> str:
        """Return the id for one more receipt. Needs no lock."""
        return str(next(self._receipt_ids))

    def add(self, exchange: Exchange) -> None:
        """Put *exchange* in the line of bytes to be written."""
        self._append(exchange)
        exchange.unconfirmed_before = self._unconfirmed
        self._awaited.update(dict.fromkeys(exchange.receipts, exchange))
        if not exchange.receipts and not exchange.together:  # the COMMIT's receipt tells of a transaction's frames
            self._unconfirmed += 1

    def add_heart_beat(self) -> None:
        """Put a heart-beat in the line, unless bytes wait there, which are as good as one.

        It stands in line with the frames, as TLS must be given again what it could not write at once.
        """
        if not self._outgoing:
            self._append(Exchange(memoryview(b"\n")))

    def _append(self, exchange: Exchange) -> None:
        self._outgoing.append(exchange)
        self.backlog += len(exchange.data)

    # -- writing ----------------------------------------------------------------------------------------------

    def begin_write(self) -> Exchange | None:
        """The exchange whose bytes are to be written next; until `end_write` it is not known how many have left."""
        self._in_write = bool(self._outgoing)
        return self._outgoing[0] if self._in_write else None

    def end_write(self, exchange: Exchange, sent: int) -> None:
        """*sent* bytes of *exchange* have left."""
        exchange.left += sent
        if self._outgoing and self._outgoing[0] is exchange:  # otherwise the session has ended meanwhile
            self.backlog -= sent
            if exchange.written:
                self._outgoing.popleft()
        self._in_write = False  # last: after an interrupt in the middle of this, it is not known what has left

    # -- answers ----------------------------------------------------------------------------------------------

    def take_receipt(self, receipt: str) -> None:
        """A RECEIPT came."""
        exchange = self._awaited.pop(receipt, None)
        if exchange is not None:
            exchange.waiting.discard(receipt)
            self._covered = max(self._covered, exchange.unconfirmed_before)

    def take_refusal(self, session: Session, frame: Frame, words: str, in_transaction: bool) -> None:
        """An ERROR came that refuses a frame: fail the exchange that it is about, if that can be known.

        *in_transaction*: transactions are open, whose frames have no receipts, and the ERROR may be about one of those.
        """
        named = frame.headers.get("receipt-id")
        exchange = None if named is None else self._awaited.get(named)
        candidates = set(self._awaited.values())
        if named is None and len(candidates) == 1 and self._unconfirmed == self._covered and not in_transaction:
            (exchange,) = candidates
        if exchange is not None:
            exchange.error = _refusal(exchange, session, frame, words)

    def give_up(self, exchange: Exchange) -> None:
        """The caller waits no more; the answer may come later, and an ERROR be about these frames."""
        if exchange.waiting and exchange.error is None:
            self._unconfirmed += 1
        for receipt in exchange.waiting:
            self._awaited.pop(receipt, None)

    def end(self, session: Session, reason: StompError) -> None:
        """*session* has ended: fail everything that is not done."""
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
    """The exception for frames that may have left before *session* ended."""
    return ConnectionLost(f"{reason}; whether the frame arrived is not known", broker=session.broker)


def _not_written(exchange: Exchange, session: Session, reason: StompError) -> MessageError:
    """The exception for frames that had not left whole when *session* ended."""
    size = len(exchange.data)
    if not exchange.left:
        return BrokerUnavailable(f"{reason}; no byte of the frame was sent", broker=session.broker)
    took = f"{session.broker} took {exchange.left} of {size} bytes, then: {reason}.{limit_hint(session.dialect)}"
    whole = 0 if exchange.together else whole_frames(exchange.data[: exchange.left], session.version)
    if exchange.waiting.isdisjoint(exchange.receipts[:whole]) and (exchange.receipts or not whole):
        what = "the rest" if whole else "the frame"
        return NotSent(f"{what} did not leave whole, and so cannot have been taken: {took}", broker=session.broker)
    unknown = ConnectionLost(
        f"whether the first {whole} messages arrived is not known, the others were not sent: {took}",
        broker=session.broker,
    )
    count = len(exchange.receipts) or whole_frames(exchange.data, session.version)
    unknown.not_sent = tuple(range(whole, count))
    return unknown


def _refusal(exchange: Exchange, session: Session, frame: Frame, words: str) -> MessageError:
    """The exception for *exchange*, of which *frame* refuses one message."""
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
