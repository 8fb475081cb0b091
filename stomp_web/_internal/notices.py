"""Notices: log records and events that wait until the code that reports them holds nothing.

A log handler or an observer may send through the publisher that reports to it. Called while a lock or a connection is
held, it would wait for its own caller. Such a send may cause notices, too: with a broker that closes each connection,
without end. So a notice about a notice is published, and one that goes back further is dropped.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import typing

__all__ = ["Notices"]

_MOST_CAUSES = 1  # notices in a row of which each has caused the next, before the one that is published


class Notices:
    """Calls of log handlers and observers that are `due`, in order. Any thread may add, and any thread may publish.

    Notices of a parent are not published in a forked child: the parent publishes them.
    """

    __slots__ = ("_publishers", "due")

    def __init__(self) -> None:
        #: The notices that wait: of each, the process, how many others have caused it, and the call.
        self.due: collections.deque[tuple[int, int, typing.Callable[[], object]]] = collections.deque()
        # The threads that publish now, by process and thread, and how many others have caused the notice that each
        # publishes. In a forked child, a thread may have the number of one of the parent.
        self._publishers: dict[tuple[int, int], int] = {}

    def add(self, report: typing.Callable[..., object], *arguments: object, **options: object) -> None:
        """Call *report*, such as a logger's ``info``, with these arguments when notices are published."""
        pid = os.getpid()
        causes = self._publishers.get((pid, threading.get_ident()), -1) + 1
        if causes <= _MOST_CAUSES:
            self.due.append((pid, causes, functools.partial(report, *arguments, **options)))

    def publish(self) -> None:
        """Publish all notices, also those that come meanwhile. The calling thread holds no lock of the library.

        A notice raises no `Exception` (see `GuardedLogger` and `Observers`): it would be taken for the outcome of the
        call that publishes.
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
