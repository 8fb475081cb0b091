"""Messages that wait for the commit of a database's transaction, and are then delivered as one batch.

Django calls the functions that wait for a commit one after the other, and at the first exception it drops the rest.
Here each message has such a function, so that a rollback to a savepoint drops exactly the messages sent after it. The
first function to be called delivers all messages of the transaction; the last one raises the first error.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import itertools
import time
import typing
import weakref

from django.db import transaction

from .._internal.log import get_logger
from ..client.message import Message
from ..errors import InvalidFrame, MessageError, NotSent
from .publishers import publishers

__all__ = ["after_commit"]

_log = get_logger("django")

# The part of its time that a batch gets when others of its transaction have used up as much by failing.
_LEAST = 0.05


def after_commit(
    message: Message, using: str, database: str | None, confirm: bool | None, timeout: float | None
) -> None:
    """Send *message* after the commit of *database*'s transaction, at once if there is none, never after a rollback."""
    options = publishers[using].options
    confirm = options.confirm if confirm is None else confirm
    timeout = options.timeout if timeout is None else timeout
    registered = transaction.get_connection(database).run_on_commit
    group = next((each[1].group for each in reversed(registered) if isinstance(each[1], _Waiting)), None) or _Group()
    waiting = _Waiting(message, using, database, confirm, timeout, group)
    transaction.on_commit(waiting, using=database)
    group.registered.append(weakref.ref(waiting))


class _Group:
    """The messages of one transaction, and the errors of those that could not be sent.

    The references are weak: Django alone keeps a registered function, until it is called or rolled back.
    """

    def __init__(self) -> None:
        self.registered: collections.deque[weakref.ref[_Waiting]] = collections.deque()
        self.errors: list[Exception] = []
        self.lost = 0.0  # seconds spent on batches that failed


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class _Waiting:
    """One message, as the function that Django calls after the commit."""

    message: Message
    using: str
    database: str | None
    confirm: bool
    timeout: float
    group: _Group
    sent: bool = False
    called: bool = False

    def __call__(self) -> None:
        self.called = True
        group = self.group
        if not self.sent:
            _deliver([self, *(each for each in self._later() if not each.sent)], group)
        if group.errors and next(self._later(), None) is None:
            first, group.errors, group.lost = group.errors[0], [], 0.0
            try:
                raise first
            finally:
                del first  # or this frame and the exception's traceback would hold each other

    def _later(self) -> typing.Iterator[_Waiting]:
        """The functions of the same transaction that Django will call after this one, in order."""
        calls = [each[1] for each in transaction.get_connection(self.database).run_on_commit]
        if self in calls:
            # A TestCase never commits: functions stay in the list when they are called, or were never to be called.
            behind = calls[calls.index(self) + 1 :]
            yield from (each for each in behind if isinstance(each, _Waiting) and each.group is self.group)
            return
        registered = self.group.registered
        while registered and ((first := registered[0]()) is None or first.called):
            registered.popleft()
        yield from (each for reference in registered if (each := reference()) is not None)


def _deliver(batch: list[_Waiting], group: _Group) -> None:
    """Deliver *batch*, in one round trip for each alias. The errors go into *group*, in the order of the messages."""
    errors: dict[_Waiting, Exception] = {}
    for using in dict.fromkeys(each.using for each in batch):
        of_alias = [each for each in batch if each.using == using]
        for _, together in itertools.groupby(of_alias, key=lambda each: each.confirm):
            errors |= _deliver_together(list(together), group)
    for each in batch:
        each.sent = True
    failed = {each: errors[each] for each in batch if each in errors}
    group.errors += failed.values()
    for each, error in failed.items() if len(batch) > 1 else ():
        text = "after the commit, message %s to %s was not sent as it should be: %s"
        _log.error(text, each.message.id, each.message.destination, error)


def _deliver_together(batch: list[_Waiting], group: _Group) -> dict[_Waiting, Exception]:
    """Deliver messages of one alias, some of them a second time by themselves if that is safe. Return the errors."""
    began = time.monotonic()
    try:
        timeout = max(each.timeout for each in batch)
        if group.lost:
            timeout = max(timeout - group.lost, timeout * _LEAST)
        publishers[batch[0].using].deliver([each.message for each in batch], confirm=batch[0].confirm, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - raised after the last message of the transaction
        group.lost += time.monotonic() - began
        if len(batch) == 1:
            return {batch[0]: error}
        confirmed, again = _outcome(error, len(batch))
        errors: dict[_Waiting, Exception] = {}
        for position, each in enumerate(batch):
            if position in again:
                errors |= _deliver_together([each], group)
            elif position not in confirmed:
                errors[each] = _about(error, each.message)
        return errors
    return {}


def _outcome(error: Exception, count: int) -> tuple[typing.Collection[int], typing.Collection[int]]:
    """The positions, in a batch of *count* messages, that were confirmed, and those that are safe to send again.

    Those are sent again one by one, because the reason for *error* may be another message of the batch.
    """
    if isinstance(error, InvalidFrame):  # this broker's version of STOMP cannot carry one of the messages
        return (), range(count)
    if type(error) is NotSent:  # the connection ended in the middle of a message, which may be over a limit
        return error.confirmed, set(range(count)).difference(error.confirmed)
    if isinstance(error, MessageError):
        return error.confirmed, error.not_sent
    return (), ()


def _about(error: Exception, message: Message) -> Exception:
    """*error*, which ended a batch, as the error of one *message* of it."""
    if not isinstance(error, MessageError):
        return error
    own = copy.copy(error).with_traceback(error.__traceback__)
    own.__cause__ = error.__cause__
    own.args = (f"{message.destination}: {error}",)
    own.destination, own.message_id, own.message_ids = message.destination, message.id, (message.id,)
    own.confirmed = own.not_sent = ()
    return own
