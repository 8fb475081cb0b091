"""Delivery of the messages that waited for the commit of a database transaction.

A publisher sends its messages as one batch, or as several batches if the messages differ in `AfterCommit.confirm`. A
message that the broker refuses must not stop the other messages. So if one message of a batch fails, the publisher
tries again to send the messages that were not sent because of it. In the second try, every message is sent alone.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time
import typing

from .._internal.log import GuardedLogger
from ..client.message import Message
from ..errors import InvalidFrame, MessageError, NotSent
from .publisher import Publisher

__all__ = ["AfterCommit", "TimeLost", "Waiting", "deliver_waiting"]

# A batch always keeps this share of its timeout, even if other batches of the transaction have failed.
_LEAST = 0.05


class AfterCommit(typing.Protocol):
    """A message that waits for a commit. `confirm` and `timeout` mean the same as in `Publisher.send`."""

    @property
    def publisher(self) -> Publisher:
        """The publisher that sends the message."""

    @property
    def message(self) -> Message:
        """The message, which `Publisher.prepare` or `Publisher.complete` has returned."""

    @property
    def confirm(self) -> bool:
        """Whether to wait for the broker's receipt."""

    @property
    def timeout(self) -> float:
        """Seconds for sending the message. A batch gets the longest timeout of its messages.

        The time of failed batches of the same transaction is subtracted. At least a twentieth remains.
        """


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A message that waits for a commit. This dataclass implements the protocol `AfterCommit`."""

    publisher: Publisher
    message: Message
    confirm: bool
    timeout: float


@dataclasses.dataclass(slots=True)
class TimeLost:
    """The time in seconds that the failed batches of one transaction have taken."""

    seconds: float = 0.0


_W = typing.TypeVar("_W", bound=AfterCommit)


def deliver_waiting(
    waiting: typing.Sequence[_W], log: GuardedLogger, lost: TimeLost | None = None
) -> list[tuple[_W, Exception]]:
    """Deliver the messages in *waiting*. Return the failed messages with their errors.

    A publisher sends its messages in one round trip if possible. If several messages wait, the errors are also logged
    to *log*. *lost* counts the time that failed batches of the transaction have taken, and this call adds the time of
    its own failed batches. The time is subtracted from the timeout of each later batch. A batch keeps at least a
    twentieth of its timeout.
    """
    lost = TimeLost() if lost is None else lost
    errors: dict[int, Exception] = {}
    for publisher in dict.fromkeys(each.publisher for each in waiting):
        own = [(number, each) for number, each in enumerate(waiting) if each.publisher is publisher]
        for _, together in itertools.groupby(own, key=lambda each: each[1].confirm):
            errors |= _deliver(publisher, list(together), lost)
    failures = [(each, errors[number]) for number, each in enumerate(waiting) if number in errors]
    if len(waiting) > 1:
        for each, error in failures:
            log.error(
                "after the commit, message %s to %s was not sent as it should be: %s",
                each.message.id,
                each.message.destination,
                error,
            )
    return failures


def _deliver(publisher: Publisher, batch: list[tuple[int, _W]], lost: TimeLost) -> dict[int, Exception]:
    """Deliver the messages of *batch*, a list of pairs ``(number, message)``. Return the errors by these numbers.

    After a failure, the messages that are safe to send again are sent one by one. The time that failures take is added
    to *lost*.
    """
    began = time.monotonic()
    try:
        timeout = max(each.timeout for _, each in batch)
        if lost.seconds:
            timeout = max(timeout - lost.seconds, timeout * _LEAST)
        publisher.deliver([each.message for _, each in batch], confirm=batch[0][1].confirm, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - raised after the last message of the transaction
        lost.seconds += time.monotonic() - began
        if len(batch) == 1:
            return {batch[0][0]: error}
        confirmed, again = _outcome(error, len(batch))
        errors: dict[int, Exception] = {}
        for position, (number, each) in enumerate(batch):
            if position in again:
                errors |= _deliver(publisher, [(number, each)], lost)
            elif position not in confirmed:
                errors[number] = _about(error, each.message)
        return errors
    return {}


def _outcome(error: Exception, count: int) -> tuple[typing.Collection[int], typing.Collection[int]]:
    """Return the positions of the confirmed messages, and the positions of the messages that are safe to send again.

    *count* is the number of messages in the failed batch. The caller sends messages again one by one, because another
    message of the batch may have caused *error*.
    """
    if isinstance(error, InvalidFrame):  # STOMP in the version of this broker cannot carry one of the messages
        return (), range(count)
    if type(error) is NotSent:  # the connection ended in the middle of a message, which may exceed a limit
        return error.confirmed, set(range(count)).difference(error.confirmed)
    if isinstance(error, MessageError):
        return error.confirmed, error.not_sent
    return (), ()


def _about(error: Exception, message: Message) -> Exception:
    """Return the exception for *message* after its batch failed with *error*.

    If *error* is a `MessageError`, the result is a copy that names only *message*. Otherwise, the result is *error*.
    """
    if not isinstance(error, MessageError):
        return error
    own = copy.copy(error).with_traceback(error.__traceback__)
    own.__cause__ = error.__cause__
    own.args = (f"{message.destination}: {error}",)
    own.destination, own.message_id, own.message_ids = message.destination, message.id, (message.id,)
    own.confirmed = own.not_sent = ()
    return own
