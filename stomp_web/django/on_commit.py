"""Messages that wait for the commit of a database's transaction, and are then delivered as one batch.

Django calls the functions that wait for a commit one after the other, and at the first exception it drops the rest.
Here each message has such a function, so that a rollback to a savepoint drops exactly the messages sent after it. The
first function to be called delivers all messages of the transaction; the last one raises the first error.
"""

from __future__ import annotations

import collections
import dataclasses
import typing
import weakref

from django.db import transaction

from .._internal.log import get_logger
from ..client.message import Message
from ..publisher import Publisher
from ..publisher.after_commit import TimeLost, deliver_waiting
from .publishers import publishers

__all__ = ["after_commit"]

_log = get_logger("django")


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
        self.lost = TimeLost()


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

    @property
    def publisher(self) -> Publisher:
        return publishers[self.using]

    def __call__(self) -> None:
        self.called = True
        group = self.group
        if not self.sent:
            batch = [self, *(each for each in self._later() if not each.sent)]
            for each in batch:
                each.sent = True
            group.errors += [error for _, error in deliver_waiting(batch, _log, group.lost)]
        if group.errors and next(self._later(), None) is None:
            first, group.errors, group.lost = group.errors[0], [], TimeLost()
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
