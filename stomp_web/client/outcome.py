"""Exceptions for the outcome of messages: not sent, rejected or unknown.

A broker accepts only a complete frame with its NUL (STOMP 1.2, "Augmented BNF"). Therefore, an incomplete frame counts
as not sent. A byte counts as written when the operating system has accepted it. Over TLS, the operating system must
have accepted the whole record that contains the byte.
"""

from __future__ import annotations

import sys
import typing

from ..connection.deadline import Deadline
from ..connection.dialect import Dialect, refuses
from ..connection.session import Session, error_words
from ..connection.transport import TransportError, TransportTimeout
from ..errors import BrokerUnavailable, ConnectionLost, MessageError, NotSent, ProtocolError, ReceiptTimeout, Rejected
from ..protocol import Frame, FrameBuffer
from .message import Message

__all__ = ["confirmed_positions", "name_messages", "no_receipt", "not_whole", "rejected", "unanswered", "whole_frames"]


def name_messages(error: MessageError, messages: typing.Sequence[Message]) -> None:
    """Set the attributes of *error* that name *messages*.

    If there is only one message, also put its destination at the beginning of the error text.
    """
    if len(messages) == 1:
        message = messages[0]
        if error.destination is None:
            error.args = (f"{message.destination}: {error.args[0]}", *error.args[1:])
        error.message_id = message.id
    error.message_ids = tuple(message.id for message in messages)
    destinations = {message.destination for message in messages}
    if len(destinations) == 1:
        (error.destination,) = destinations


def whole_frames(data: memoryview, version: str) -> int:
    """Return the number of complete frames in *data*, which may end inside a frame."""
    # No limits: this library has made and checked these frames.
    frames = FrameBuffer(version, max_header_bytes=sys.maxsize, max_headers=sys.maxsize, max_body_bytes=sys.maxsize)
    frames.append(data)
    return sum(1 for _ in frames)


def not_whole(
    session: Session,
    problem: str,
    left: int,
    size: int,
    whole: int,
    count: int,
    confirmed: tuple[int, ...] = (),
    *,
    late: bool = False,
) -> MessageError:
    """Return the exception for an incomplete write. *problem* is the cause. *late* says whether the deadline expired.

    *left* is the number of written bytes, of *size* bytes in all. *whole* says how many of the first messages were
    written completely, of *count* messages in all. *confirmed* holds the positions of the confirmed messages.
    """
    broker = session.broker
    if not left:
        return BrokerUnavailable(f"{broker} took no byte of the message: {problem}; nothing was sent", broker=broker)
    took = f"{broker} took {left} of {size} bytes, then: {problem}.{'' if late else _limit_hint(session.dialect)}"
    if set(range(whole)) <= set(confirmed):
        what = "the rest" if whole else "the frame"
        return NotSent(
            f"{what} did not leave whole, and so cannot have been taken: {took}", broker=broker, confirmed=confirmed
        )
    unknown = (ReceiptTimeout if late else ConnectionLost)(
        f"whether the first {whole} of {count} messages arrived is not known, the others were not sent: {took}",
        broker=broker,
        confirmed=confirmed,
    )
    unknown.not_sent = tuple(range(whole, count))
    return unknown


def _limit_hint(dialect: Dialect, size: int = 0) -> str:
    """Return a sentence about the broker's limit for the size of a message.

    Return ``""`` if no limit is known, or if a message of *size* bytes fits. *size* 0 means an unknown size.
    """
    if dialect.frame_limit is None or 0 < size <= dialect.frame_limit:
        return ""
    return f" The broker may limit the size of a message ({dialect.frame_limit_names})."


def confirmed_positions(receipts: dict[str, int], waiting: dict[str, int]) -> tuple[int, ...]:
    """Return the positions in *receipts* for which no receipt is in *waiting*.

    All receipts of a transaction have one position, so each of them must have come.
    """
    missing = set(waiting.values())
    return tuple(dict.fromkeys(position for position in receipts.values() if position not in missing))


def unanswered(errors: list[Frame], receipts: dict[str, int], waiting: dict[str, int], earlier: int) -> bool:
    """Return whether a message has no receipt and no ERROR yet. See the function `rejected` for the arguments."""
    refused = _refused(errors, receipts)
    # Once an ERROR has named one of the messages, an ERROR that names no message is about an earlier one.
    spare = 0 if refused and earlier > 0 else sum(error.headers.get("receipt-id") not in receipts for error in errors)
    return len(set(waiting.values()) - refused) > spare


def rejected(
    session: Session,
    errors: list[Frame],
    receipts: dict[str, int],
    waiting: dict[str, int],
    earlier: int,
    *,
    count: int = 1,
    late: bool = False,
) -> MessageError:
    """Return the exception for ERROR frames that came instead of receipts.

    *receipts* maps each requested receipt id to the position of its message. All ids of a transaction have the same
    position. *waiting* holds the ids of missing receipts. If *receipts* is empty, the exception is about *count*
    messages. *earlier* is the number of unconfirmed messages that were sent before this call. *late* means that the
    deadline expired before all answers had come.

    The exception is `Rejected` if an ERROR refuses a message of this call and every other message has an answer. If the
    broker ends the session after a refusal, the messages after the refused message need no answer. The attribute
    `not_sent` of the exception then holds their positions. If the exception is not `Rejected`, it is `ReceiptTimeout`
    or `ConnectionLost`, because the outcome is unknown.

    If *earlier* is not 0, an ERROR without ``receipt-id`` refuses no message of this call, because the ERROR may be
    about an earlier message. RabbitMQ sends all ERRORs without ``receipt-id``.
    """
    broker = session.broker
    refusals = [error for error in errors if refuses(error, session.dialect)]
    refused = _refused(refusals, receipts)
    left = (set(waiting.values()) if receipts else set(range(count))) - refused
    behind: set[int] = set()
    ends = session.dialect.ends_after_refusal and session.version == "1.2"
    if refused and not late and ends and max(confirmed_positions(receipts, waiting), default=-1) < max(refused):
        behind = {position for position in left if position > max(refused)}
        left -= behind
    unnamed = 0 if earlier > 0 else sum("receipt-id" not in error.headers for error in refusals)
    confirmed = confirmed_positions(receipts, waiting)
    frame = next((error for error in refusals if error.headers.get("receipt-id") in receipts), (refusals or errors)[0])
    words = error_words(frame)
    if (refused or unnamed) and len(left) <= unnamed:
        error = Rejected(
            f"{broker} rejected it: {words}. The broker did not accept it; sending it again unchanged will fail again",
            broker=broker,
            frame=frame,
            confirmed=confirmed,
        )
        error.not_sent = tuple(sorted(behind))
        return error
    if refused or unnamed:
        end = "did not answer to all messages in time" if late else "hung up before it had answered to all messages"
        problem = f"{broker} answered ERROR: {words}, and {end}; which of the others it has taken is not known"
    elif refusals:
        problem = (
            f"{broker} answered ERROR, but not clearly to this message: {words}. Messages were sent unconfirmed before "
            "it, and the ERROR may be about one of them; whether this one arrived is not known"
        )
    else:
        problem = (
            f"{broker} answered ERROR: {words}. That does not say that the broker refused this message; whether it "
            "arrived is not known"
        )
    unknown = (ReceiptTimeout if late else ConnectionLost)(problem, broker=broker, confirmed=confirmed, frame=frame)
    unknown.not_sent = tuple(sorted(behind))
    if refusals:
        unknown.__cause__ = Rejected(f"{broker} answered ERROR: {words}", broker=broker, frame=frame)
    return unknown


def _refused(errors: list[Frame], receipts: dict[str, int]) -> set[int]:
    named = (error.headers.get("receipt-id", "") for error in errors)
    return {receipts[receipt] for receipt in named if receipt in receipts}


def no_receipt(
    session: Session,
    error: TransportError | ProtocolError,
    deadline: Deadline,
    confirmed: tuple[int, ...] = (),
    size: int = 1,
) -> MessageError:
    """Return the exception for unanswered messages. *error* says why no answer came.

    For a single message, *size* is the number of bytes of its body. If *size* is above the broker's limit, the error
    mentions the limit. For several messages, *size* is 1, so the error never mentions the limit.
    """
    late = isinstance(error, TransportTimeout)
    given = f" ({deadline.seconds:.3g} s given)" if late else ""
    reason = "be slow or out of resources, or may have refused it" if late else "have gone down, or have refused it"
    return (ReceiptTimeout if late else ConnectionLost)(
        f"no receipt from {session.broker}: {error}{given}; whether the message arrived is not known. "
        f"The broker may {reason}.{'' if late else _limit_hint(session.dialect, size)}",
        broker=session.broker,
        confirmed=confirmed,
    )
