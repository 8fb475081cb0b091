"""Notices: log records and events that wait until the code that reports them holds nothing.

A log handler or an observer may send through the publisher that reports to it. If it were called while a lock or a
connection is held, it would wait for its own caller. Such a send may cause notices, too, and they would never end if
the broker closes each connection. So a notice about a notice is published, and any notice about that one is dropped.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import typing

__all__ = ["Notices"]

_MOST_CAUSES = 1  # the longest chain of notices, each the cause of the next, that leads to a published notice


class Notices:
    """Calls of log handlers and observers that are `due`, in order. Any thread may add, and any thread may publish.

    Notices of a parent are not published in a forked child: the parent publishes them.
    """

    __slots__ = ("_publishers", "due")

    def __init__(self) -> None:
        #: The waiting notices: for each, the process, how many other notices have caused it, and the call.
        self.due: collections.deque[tuple[int, int, typing.Callable[[], object]]] = collections.deque()
        # The threads that publish now, and how many other notices have caused the notice that each publishes. The key
        # is process and thread, because a thread of a forked child may have the number of a thread of the parent.
        self._publishers: dict[tuple[int, int], int] = {}

    def add(self, report: typing.Callable[..., object], *arguments: object, **options: object) -> None:
        """Call *report*, such as a logger's ``info``, with these arguments when notices are published."""
        pid = os.getpid()
        causes = self._publishers.get((pid, threading.get_ident()), -1) + 1
        if causes <= _MOST_CAUSES:
            self.due.append((pid, causes, functools.partial(report, *arguments, **options)))

    def publish(self) -> None:
        """Publish all notices, also those that come meanwhile. The calling thread must hold no lock of the library.

        A notice raises no `Exception` (see `GuardedLogger` and `Observers`), because the exception would be taken for
        the outcome of the call that publishes.
        """
        if not self.due:
            return
        thread = (os.getpid(), threading.get_ident())
        if thread in self._publishers:
            return
        try:
            while self.due:
                try:
                    pid, causes, report = self.due.popleft()
                except IndexError:  # another thread has published the last one
                    return
                if pid != os.getpid():
                    continue
                self._publishers[thread] = causes
                report()
        finally:
            self._publishers.pop(thread, None)
