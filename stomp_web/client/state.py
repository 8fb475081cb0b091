"""The open transactions of a session, and the state of a `PublishClient` in one process.

A `ClientState` has one claim, a `Right` object. Only the thread that holds the claim may use the session. To get the
claim, a thread takes the claim out of `ClientState.claims`. After its call, the thread puts the claim back.
"""

from __future__ import annotations

import dataclasses
import itertools

from .._internal.right import Right
from ..connection.session import Session, error_words
from ..errors import ConnectionLost, MessageError, NotSent, Rejected, StompError
from ..protocol import Frame
from .encoder import Encoder

__all__ = ["ClientState", "OpenTransaction", "Transactions"]

_MOST_ENDED = 1_000  # ended transactions that are remembered; a program with more never ends its transactions


@dataclasses.dataclass(slots=True)
class OpenTransaction:
    """Counts the sent frames of one open transaction, and holds the ids of the expected receipts."""

    #: The number of frames that were sent since the last receipt.
    messages: int = 0
    #: The ids of the receipts that RabbitMQ sends after COMMIT.
    receipts: list[str] = dataclasses.field(default_factory=list)

    def sent(self, count: int, receipt: int | None) -> None:
        """Record *count* sent messages.

        *receipt* is the receipt id of the first message, and the next messages have the next numbers. ``None`` means
        that no receipts are expected.
        """
        self.messages += count
        if receipt is not None:
            self.receipts.extend(map(str, range(receipt, receipt + count)))


class Transactions:
    """The transactions of one client. Each method is safe in any thread."""

    __slots__ = ("_ended", "_ids", "open")

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        #: The open transactions of this session, by their ids.
        self.open: dict[str, OpenTransaction] = {}
        # By transaction id: an ERROR that `get` has not reported yet, and whether the ERROR refuses a frame.
        self._ended: dict[str, tuple[Frame, bool]] = {}

    def begin(self) -> str:
        """Add an open transaction, and return the id of the transaction."""
        transaction = f"tx-{next(self._ids)}"
        self.open[transaction] = OpenTransaction()
        return transaction

    def get(self, transaction: str, broker: str) -> OpenTransaction:
        """Return the open transaction. Raises `NotSent` or `Rejected` if the transaction is not open any more."""
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
        """End all open transactions, because the session has ended.

        If *reason* contains an ERROR frame, a later `get` raises an exception that reports this ERROR.
        """
        if isinstance(reason, Rejected | ConnectionLost) and reason.frame is not None:
            self.end_by(reason.frame, isinstance(reason, Rejected))
        self.open.clear()

    def end_by(self, frame: Frame, refusal: bool) -> None:
        """End all open transactions after the ERROR *frame*.

        If *refusal* is true, `get` will raise `Rejected`. Otherwise, `get` will raise `NotSent`.
        """
        if len(self._ended) > _MOST_ENDED:
            self._ended.clear()
        self._ended.update(dict.fromkeys(self.open, (frame, refusal)))
        self.open.clear()

    def forget(self, transaction: str) -> None:
        """Forget the ERROR that has ended *transaction*, if any. `get` will not report this ERROR."""
        self._ended.pop(transaction, None)

    def clear(self) -> None:
        """Forget all transactions."""
        self.open.clear()
        self._ended.clear()


def _ended_by_error(broker: str, transaction: str, frame: Frame, refusal: bool) -> MessageError:
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


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class ClientState:
    """The state of a client in one process."""

    pid: int
    #: A list that contains the claim while no call runs. A deque would take 700 bytes more.
    claims: list[Right] = dataclasses.field(default_factory=list)
    session: Session | None = None
    encoder: Encoder | None = None
    #: The id of the next receipt.
    next_receipt: int = 1
    #: The number of frames since the last receipt. An ERROR may be about such a frame.
    unconfirmed: int = 0
    transactions: Transactions = dataclasses.field(default_factory=Transactions)
    #: Whether the user has called `connect` with arguments, such as other credentials.
    other_login: bool = False

    def __post_init__(self) -> None:
        self.claims.append(Right(self))

    def restore(self, lost: Right) -> None:
        """Add a new claim to `claims`, to replace the lost claim.

        A claim is lost if an exception prevents a thread from putting the claim back. See the module of `Right`.
        """
        self.claims.append(Right(self))

    @property
    def is_reusable(self) -> bool:
        """Whether a pool may lease the client again.

        The client must be connected and have no unfinished call and no open transaction. `other_login` must be false.
        """
        session = self.session
        return (
            session is not None
            and not session.unsettled
            and not self.transactions.open
            and not self.other_login
            and len(self.claims) == 1
        )

    def begin_session(self, session: Session) -> None:
        """Use *session* from now on."""
        self.encoder = Encoder(session.version, session.dialect)
        self.session = session

    def drop(self) -> None:
        """Close the connection without DISCONNECT, and forget the state of its session."""
        session, self.session = self.session, None
        self.unconfirmed = 0
        self.transactions.open.clear()
        if session is not None:
            session.close()

    def all_answered(self) -> None:
        """Forget all unconfirmed frames. The caller has read a receipt, so no later ERROR can be about these frames."""
        self.unconfirmed = 0
        for transaction in self.transactions.open.values():
            transaction.messages = 0
