"""The transactions that a client has open in its session."""

from __future__ import annotations

import dataclasses
import itertools

from ..connection.session import error_words
from ..errors import ConnectionLost, MessageError, NotSent, Rejected, StompError
from ..protocol import Frame

__all__ = ["OpenTransaction", "Transactions"]

_MOST_ENDED = 1_000  # transactions of which their user has yet to be told; a program with more never ends its own


@dataclasses.dataclass(slots=True)
class OpenTransaction:
    """How many frames of it were sent since the last receipt, and the `receipts` after its COMMIT (RabbitMQ)."""

    messages: int = 0
    receipts: list[str] = dataclasses.field(default_factory=list)

    def sent(self, count: int, receipt: int | None) -> None:
        """*count* messages were sent in it; if receipts were asked for, *receipt* is the first one's number."""
        self.messages += count
        if receipt is not None:
            self.receipts.extend(map(str, range(receipt, receipt + count)))


class Transactions:
    """The transactions of one client. Each method is safe in any thread."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        #: The open transactions of this session, by their ids.
        self.open: dict[str, OpenTransaction] = {}
        # Those that an ERROR has ended, of which their user does not know yet; and whether it refuses a frame of them.
        self._ended: dict[str, tuple[Frame, bool]] = {}

    def begin(self) -> str:
        """Count one more transaction as open, and return its id."""
        transaction = f"tx-{next(self._ids)}"
        self.open[transaction] = OpenTransaction()
        return transaction

    def get(self, transaction: str, broker: str) -> OpenTransaction:
        """Return the open transaction with this id. Raises `NotSent` or `Rejected` if it is not open any more."""
        end = self._ended.pop(transaction, None)
        if end is not None:
            raise _ended_by_error(broker, transaction, *end)
        if transaction in self.open:
            return self.open[transaction]
        raise NotSent(
            f"the transaction {transaction!r} is not open on {broker}: it was ended, or the connection was lost since "
            "it began. Nothing of it is committed by this call; begin a new one, and send its messages again.",
            broker=broker,
        )

    def end(self, reason: StompError) -> None:
        """The session has ended, and with it its open transactions; an ERROR in *reason* is kept for their users."""
        if isinstance(reason, Rejected | ConnectionLost) and reason.frame is not None:
            self.end_by(reason.frame, isinstance(reason, Rejected))
        self.open.clear()

    def end_by(self, frame: Frame, refusal: bool) -> None:
        """An ERROR has ended the session, and with it the open transactions, whose users are to be told."""
        if len(self._ended) > _MOST_ENDED:
            self._ended.clear()
        self._ended.update(dict.fromkeys(self.open, (frame, refusal)))
        self.open.clear()

    def forget(self, transaction: str) -> None:
        """Nothing more is to be told about this one."""
        self._ended.pop(transaction, None)

    def clear(self) -> None:
        """Forget all of them."""
        self.open.clear()
        self._ended.clear()


def _ended_by_error(broker: str, transaction: str, frame: Frame, refusal: bool) -> MessageError:
    """The exception for a transaction that the broker has ended with an ERROR before its COMMIT was sent."""
    words = error_words(frame)
    if refusal:
        return Rejected(
            f"{broker} rejected a message of the transaction {transaction!r}: {words}; nothing of it was committed",
            broker=broker,
            frame=frame,
        )
    return NotSent(
        f"{broker} answered ERROR: {words}, which ended the session and its transaction {transaction!r}; nothing of it "
        "was committed. Begin a new one, and send its messages again.",
        broker=broker,
    )
