"""Messages that wait for the commit of a database's transaction.

Django calls what waits for a commit one after the other, and at the first exception it drops the rest. A message that
cannot be sent must not take the others of its transaction with it: each is tried, and then the first error is raised.
"""

from __future__ import annotations

import typing
import weakref

from django.db import transaction

from ..log import get_logger

__all__ = ["after_commit"]

_log = get_logger("django")


def after_commit(send: typing.Callable[[], object], what: str, database: str | None) -> None:
    """Call *send* after the commit of *database*'s transaction, or at once if there is none; never after a rollback.

    *what* it sends is named in the log if it fails while others wait.
    """
    waiting = transaction.get_connection(database).run_on_commit
    siblings = next((each[1].siblings for each in reversed(waiting) if isinstance(each[1], _Waiting)), None)
    transaction.on_commit(_Waiting(send, what, siblings or _Siblings()), using=database)


class _Siblings:
    """The messages of one transaction that were not tried yet, and the errors of those that were.

    A rollback to a savepoint drops what was sent behind it: nothing else refers to that, and it is gone from here too.
    """

    __slots__ = ("errors", "waiting")

    def __init__(self) -> None:
        self.waiting: weakref.WeakSet[_Waiting] = weakref.WeakSet()
        self.errors: list[Exception] = []


class _Waiting:
    """What Django calls after the commit."""

    __slots__ = ("__weakref__", "_send", "_what", "siblings")

    def __init__(self, send: typing.Callable[[], object], what: str, siblings: _Siblings) -> None:
        self._send = send
        self._what = what
        self.siblings = siblings
        siblings.waiting.add(self)

    def __call__(self) -> None:
        waiting, errors = self.siblings.waiting, self.siblings.errors
        waiting.discard(self)
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - raised below, or by the last one
            errors.append(error)
            if waiting or len(errors) > 1:
                _log.error("after the commit, %s was not sent as it should be: %s", self._what, error)
        if errors and not waiting:
            first, self.siblings.errors = errors[0], []
            try:
                raise first
            finally:
                del first, errors  # or this frame and the exception's traceback would hold each other
