"""Messages that wait for the commit of a database's transaction.

Django calls what waits for a commit one after the other, and at the first exception it drops the rest. A message that
cannot be sent must not take the others of its transaction with it: each is tried, and then the first error is raised.
"""

from __future__ import annotations

import time
import typing
import weakref

from django.db import transaction

from .._internal.log import get_logger

__all__ = ["after_commit"]

_log = get_logger("django")


def after_commit(send: typing.Callable[[float], object], what: str, database: str | None) -> None:
    """Call *send* after the commit of *database*'s transaction, or at once if there is none; never after a rollback.

    It is called with the seconds that were lost so far with messages of the same transaction that could not be sent.
    *what* it sends is named in the log if it fails while others wait.
    """
    waiting = transaction.get_connection(database).run_on_commit
    siblings = next((each[1].siblings for each in reversed(waiting) if isinstance(each[1], _Waiting)), None)
    transaction.on_commit(_Waiting(send, what, database, siblings or _Siblings()), using=database)


class _Siblings:
    """The messages of one transaction that were not tried yet, and what became of those that were.

    A rollback to a savepoint drops what was sent behind it: nothing else refers to that, and it is gone from here too.
    """

    __slots__ = ("errors", "lost", "waiting")

    def __init__(self) -> None:
        self.waiting: weakref.WeakSet[_Waiting] = weakref.WeakSet()
        self.errors: list[Exception] = []
        self.lost = 0.0  # seconds that went into messages that could not be sent


class _Waiting:
    """What Django calls after the commit."""

    __slots__ = ("__weakref__", "_database", "_send", "_what", "siblings")

    def __init__(
        self, send: typing.Callable[[float], object], what: str, database: str | None, siblings: _Siblings
    ) -> None:
        self._send = send
        self._what = what
        self._database = database
        self.siblings = siblings
        siblings.waiting.add(self)

    def __call__(self) -> None:
        siblings = self.siblings
        siblings.waiting.discard(self)
        more = self._more_to_come()
        began = time.monotonic()
        try:
            self._send(siblings.lost)
        except Exception as error:  # noqa: BLE001 - raised below, or by the last one
            siblings.lost += time.monotonic() - began
            siblings.errors.append(error)
            if more or len(siblings.errors) > 1:
                _log.error("after the commit, %s was not sent as it should be: %s", self._what, error)
        if siblings.errors and not more:
            first, siblings.errors, siblings.lost = siblings.errors[0], [], 0.0
            try:
                raise first
            finally:
                del first  # or this frame and the exception's traceback would hold each other

    def _more_to_come(self) -> bool:
        """Whether Django will call others of the same transaction after this one."""
        calls = [each[1] for each in transaction.get_connection(self._database).run_on_commit]
        if self in calls:
            # A TestCase, which never commits: what it calls stays in the list, and what stands before it may never be.
            behind = calls[calls.index(self) + 1 :]
            return any(isinstance(each, _Waiting) and each in self.siblings.waiting for each in behind)
        return bool(self.siblings.waiting)
