"""Transactions: the ones that a client has open, and the context manager that commits or aborts one.

`Transactions` owns the open transactions of a client's session. The client asks it in each call that names a
transaction (`get`), and tells it when the session ends.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing

from ..connection.session import error_words
from ..errors import ConnectionLost, MessageError, NotSent, Rejected, StompError
from ..protocol import Frame
from .message import Body

__all__ = [
    "EndedByError",
    "OpenTransaction",
    "Transaction",
    "TransactionClient",
    "Transactions",
    "ended_by_error",
    "not_open",
]

_MOST_ENDED = 1_000  # transactions of which their user has yet to be told; a program with more never ends its own


class TransactionClient(typing.Protocol):
    """The part of a client that a `Transaction` uses."""

    @property
    def send(self) -> typing.Callable[..., None]:
        """Sends a message; the argument *transaction* is the id."""

    def begin(self) -> str:
        """Begin a transaction, and return its id."""

    def commit(self, transaction: str) -> None:
        """Commit it."""

    def abort(self, transaction: str) -> None:
        """Abort it."""

    def close(self) -> None:
        """Close the connection, so that the broker aborts it."""


class Transaction:
    """A transaction in progress, as `PublishClient.transaction` gives it. `id` is its id while the block runs."""

    def __init__(self, client: TransactionClient) -> None:
        self._client = client
        self.id = ""

    def __enter__(self) -> Transaction:
        self.id = self._client.begin()
        return self

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: typing.Mapping[str, str] | None = None,
        *,
        content_type: str | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message in this transaction. Arguments as of `PublishClient.send`."""
        self._client.send(
            destination, body, headers, content_type=content_type, transaction=self.id, ttl=ttl, timeout=timeout
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if error is None:
            self._client.commit(self.id)
            return
        try:
            self._client.abort(self.id)
        except MessageError:
            # The caller's own exception matters more, and with the connection gone the broker aborts by itself.
            self._client.close()


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


class EndedByError(typing.NamedTuple):
    """The ERROR that has ended an open transaction, and whether it refuses one of its frames (`refusal`)."""

    frame: Frame
    refusal: bool


class Transactions:
    """The transactions of one client. Each method is safe in any thread."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        #: The open transactions of this session, by their ids.
        self.open: dict[str, OpenTransaction] = {}
        # Those that an ERROR has ended, of which their user does not know yet.
        self._ended: dict[str, EndedByError] = {}

    def begin(self) -> str:
        """Count one more transaction as open, and return its id."""
        transaction = f"tx-{next(self._ids)}"
        self.open[transaction] = OpenTransaction()
        return transaction

    def get(self, transaction: str, broker: str) -> OpenTransaction:
        """Return the open transaction with this id. Raises `NotSent` or `Rejected` if it is not open any more."""
        end = self._ended.pop(transaction, None)
        if end is not None:
            raise ended_by_error(broker, transaction, end)
        try:
            return self.open[transaction]
        except KeyError:
            raise not_open(broker, transaction) from None

    def end(self, reason: StompError) -> None:
        """The session has ended, and with it its open transactions; an ERROR in *reason* is kept for their users."""
        if isinstance(reason, Rejected | ConnectionLost) and reason.frame is not None:
            self.end_by(reason.frame, isinstance(reason, Rejected))
        self.open.clear()

    def end_by(self, frame: Frame, refusal: bool) -> None:
        """An ERROR has ended the session, and with it the open transactions, whose users are to be told."""
        if len(self._ended) > _MOST_ENDED:
            self._ended.clear()
        self._ended.update(dict.fromkeys(self.open, EndedByError(frame, refusal)))
        self.open.clear()

    def forget(self, transaction: str) -> None:
        """Nothing more is to be told about this one."""
        self._ended.pop(transaction, None)

    def clear(self) -> None:
        """Forget all of them."""
        self.open.clear()
        self._ended.clear()


def ended_by_error(broker: str, transaction: str, end: EndedByError) -> MessageError:
    """The exception for a transaction that the broker has ended with an ERROR before its COMMIT was sent."""
    words = error_words(end.frame)
    if end.refusal:
        return Rejected(
            f"{broker} rejected a message of the transaction {transaction!r}: {words}; nothing of it was committed",
            broker=broker,
            frame=end.frame,
        )
    return NotSent(
        f"{broker} answered ERROR: {words}, which ended the session and its transaction {transaction!r}; nothing of it "
        "was committed. Begin a new one, and send its messages again.",
        broker=broker,
    )


def not_open(broker: str, transaction: str) -> NotSent:
    """The exception for a transaction that is not open, or not any more."""
    return NotSent(
        f"the transaction {transaction!r} is not open on {broker}: it was ended, or the connection was lost since it "
        "began. Nothing of it is committed by this call; begin a new one, and send its messages again.",
        broker=broker,
    )
