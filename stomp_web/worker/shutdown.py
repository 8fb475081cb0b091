"""The shutdown of a worker: take no more messages, and let handlers end within the grace time."""

from __future__ import annotations

import typing

from .._internal.log import get_logger
from ..connection.deadline import Deadline
from .inbox import Inbox
from .stats import Counters
from .worker_thread import WorkerThread

__all__ = ["shut_down"]

_log = get_logger("worker")


def shut_down(
    inbox: Inbox,
    threads: typing.Sequence[WorkerThread],
    counters: Counters,
    grace: float,
    wait: typing.Callable[[float], object],
) -> bool:
    """Return whether all handlers have ended within *grace* seconds, and their messages were acknowledged.

    *wait* waits for a change, for some seconds at most. The connection is needed meanwhile, and stays.
    """
    deadline = Deadline(grace)
    busy = counters.snapshot().get("in_flight", 0)
    _log.info("stopping: %d %s being handled", busy, "message is" if busy == 1 else "messages are")
    inbox.close()
    for thread in threads:
        thread.end()
    while not all(thread.ended for thread in threads) and not deadline.expired:
        wait(deadline.remaining())
    late = [thread for thread in threads if not thread.ended]
    if late:
        busy = sum(thread.busy for thread in late)
        _log.error(
            "%d %s not ended within %g s; what was not acknowledged comes again",
            busy,
            "handler has" if busy == 1 else "handlers have",
            grace,
        )
        lost = inbox.abandon()
        if lost:
            _log.error("%d messages, acknowledged before they were handled (ack='auto'), are lost", lost)
        for thread in late:
            thread.abandon()
    return not late
