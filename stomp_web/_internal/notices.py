"""Notices: log records and events that wait until the reporting thread holds no lock and no connection.

A publisher calls log handlers and observers, which may send a message through the same publisher. If the publisher held
a lock or a connection during the call, the thread could wait for itself. A message that a log handler sends may cause a
second notice. A log handler that gets the second notice may send another message. With a broker that closes every
connection, this chain would never end. Therefore, `Notices` drops the third notice of a chain.
"""

from __future__ import annotations

import functools
import os
import threading
import typing

__all__ = ["Notices"]

_MOST_CAUSES = 1  # the most earlier notices in the chain that leads to a published notice


class Notices:
    """A queue of waiting notices. Each notice is a call that reports to the log or to the observers.

    Any thread may add a notice, and any thread may make the waiting calls. A forked child does not publish the notices
    of its parent. The parent publishes these notices.
    """

    __slots__ = ("_publishers", "due")

    def __init__(self) -> None:
        #: The waiting notices: the process id, the number of earlier notices in the chain, and the call.
        self.due: list[tuple[int, int, typing.Callable[[], object]]] = []
        # For each thread that publishes now, the number of earlier notices in the chain. The key contains the process,
        # because a thread of a forked child may have the same number as a thread of the parent.
        self._publishers: dict[tuple[int, int], int] = {}

    def add(self, report: typing.Callable[..., object], *arguments: object, **options: object) -> None:
        """Add a call of *report*, such as a logger's ``info``. The other arguments are the arguments of the call."""
        pid = os.getpid()
        causes = self._publishers.get((pid, threading.get_ident()), -1) + 1
        if causes <= _MOST_CAUSES:
            self.due.append((pid, causes, functools.partial(report, *arguments, **options)))

    def publish(self) -> None:
        """Execute all calls in the queue. The caller must hold no lock of the library.

        The method also executes the calls that are added meanwhile. `GuardedLogger` and `Observers` suppress every
        `Exception` of the calls. Otherwise the exception of a log handler would look like a failure of the caller's own
        work.
        """
        if not self.due:
            return
        thread = (os.getpid(), threading.get_ident())
        if thread in self._publishers:
            return
        try:
            while self.due:
                try:
                    pid, causes, report = self.due.pop(0)
                except IndexError:  # another thread has published the last one
                    return
                if pid != os.getpid():
                    continue
                self._publishers[thread] = causes
                report()
        finally:
            self._publishers.pop(thread, None)
