"""Notices: log records and events that wait until the code that reports them holds nothing.

A log handler, an observer or a signal receiver is code of the application, and may send through the very publisher that
reports to it. Called while a lock or a connection is held, such a send would wait for its own caller. So code that
holds something only adds a notice, and the notices are published after the release.

What such code sends may cause notices, too, and those may make it send again. With a broker that closes each connection
that would never end. So a notice about a notice is published, and one that goes back further is dropped.
"""

from __future__ import annotations

import collections
import os
import threading
import typing

__all__ = ["Notices"]

_MOST_CAUSES = 1  # notices in a row of which each has caused the next, before the one that is published


class Notices:
    """Calls of log handlers and observers that are due, in order. Any thread may add, and any thread may publish.

    `due` is empty while there is none, so that a sender only asks for that. Notices of a parent are not published in a
    forked child: the parent publishes them.
    """

    __slots__ = ("_publishers", "due")

    def __init__(self) -> None:
        #: The notices that wait: of each, the process, how many others have caused it, and the call.
        self.due: collections.deque[tuple[int, int, typing.Callable[..., object], tuple[object, ...], object]] = (
            collections.deque()
        )
        # The threads that publish now, by process and thread, and how many others have caused the notice that each
        # publishes. In a forked child, a thread may have the number of one of the parent.
        self._publishers: dict[tuple[int, int], int] = {}

    def add(self, report: typing.Callable[..., object], *arguments: object, exc_info: object = None) -> None:
        """Call *report*, such as a logger's ``info``, with *arguments* when notices are published.

        *exc_info* is handed to a logger's method as it is.
        """
        pid = os.getpid()
        causes = self._publishers.get((pid, threading.get_ident()), -1) + 1
        if causes <= _MOST_CAUSES:
            self.due.append((pid, causes, report, arguments, exc_info))

    def publish(self) -> None:
        """Publish all notices. The calling thread holds no lock of the library.

        Called again by what it calls - a log handler that sends - it does nothing: one notice is published after the
        other, and what comes meanwhile is published by the first call.

        What may be added raises no `Exception`: a `GuardedLogger` and `Observers.tell` keep those of the application's
        code, which would be taken for the outcome of the call that publishes.
        """
        if not self.due:
            return
        thread = (os.getpid(), threading.get_ident())
        if thread in self._publishers:
            return
        try:
            while self.due:
                try:
                    pid, causes, report, arguments, exc_info = self.due.popleft()
                except IndexError:  # another thread has published the last one
                    return
                if pid != os.getpid():
                    continue
                self._publishers[thread] = causes
                if exc_info is None:
                    report(*arguments)
                else:
                    report(*arguments, exc_info=exc_info)
        finally:
            self._publishers.pop(thread, None)
