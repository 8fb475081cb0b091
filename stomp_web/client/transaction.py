"""A transaction as a context manager: commit when the block ends, abort when it raises.

And what is said of one that cannot be ended, whichever client began it.
"""

from __future__ import annotations

import types
import typing

from ..connection.deadline import Deadline
from ..connection.session import error_words
from ..errors import MessageError, NotSent, Rejected
from ..protocol import Frame
from .message import Body, Message

if typing.TYPE_CHECKING:
    from .duplex import QueueingDuplexClient
    from .publish import PublishClient

__all__ = ["EndedByError", "Transaction", "ended_by_error", "not_open"]


class Transaction:
    """A transaction in progress, as `PublishClient.transaction` gives it. `id` is its id while the block runs."""

    def __init__(self, client: PublishClient | QueueingDuplexClient) -> None:
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
        message = Message(destination, body, headers, content_type=content_type, ttl=ttl)
        body = b""  # a traceback that shows locals must not show it
        deadline = Deadline(self._client.timeout if timeout is None else timeout)
        self._client.deliver((message,), None, self.id, deadline)

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


class EndedByError(typing.NamedTuple):
    """The ERROR that has ended an open transaction, and whether it refuses one of its frames (`refuses`)."""

    frame: Frame
    refusal: bool


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
