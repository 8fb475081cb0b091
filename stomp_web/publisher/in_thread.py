"""Helpers for event loops: a blocking call in another thread, and a warning about a call that blocks the loop."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import sys
import typing
import warnings

from .._internal.log import get_logger
from ..client.message import Message
from ..connection.deadline import Deadline, checked
from ..errors import PoolTimeout

__all__ = ["call_in_thread", "warn_of_blocking"]

_T = typing.TypeVar("_T")

_log = get_logger("publisher")
_PACKAGE = __name__.partition(".")[0]


async def call_in_thread(function: typing.Callable[[float], _T], message: Message, seconds: float) -> _T:
    """Call *function*, which sends *message*, in a thread of the event loop's executor. Return the result.

    *seconds* is the time limit. The argument of *function* is the rest of this time, in seconds. The thread has the
    caller's context variables. Raises `PoolTimeout` if no thread becomes free in time. If the caller's task is
    cancelled while the task waits for a thread, *function* is not called. If the task is cancelled later, *function*
    runs to its end. If *function* then raises an exception, the exception is logged.
    """
    import asyncio  # here, so that importing the core does not load asyncio

    deadline = Deadline(checked(seconds))
    failures: collections.deque[Exception] = collections.deque()
    cancelled = False

    def log_late_failure() -> None:
        # Both threads call this, each after setting its flag. One of them sees both flags, and logs the error.
        if cancelled and failures:
            with contextlib.suppress(IndexError):
                what, error = f"message {message.id} to {message.destination}", failures.popleft()
                _log.warning("%s: after the task that sent it had been cancelled: %s", what, error)

    def work() -> _T:
        left = deadline.remaining()
        if not left:
            raise PoolTimeout(
                f"{message.destination}: no thread of the event loop's executor became free within {seconds:g} s; "
                "nothing was sent. loop.set_default_executor(ThreadPoolExecutor(...)) gives it more threads",
                destination=message.destination,
                message_id=message.id,
            )
        try:
            return function(left)
        except Exception as error:
            failures.append(error)
            log_late_failure()
            raise

    context = contextvars.copy_context()
    try:
        return await asyncio.get_running_loop().run_in_executor(None, context.run, work)
    except asyncio.CancelledError:
        cancelled = True
        log_late_failure()
        raise


def warn_of_blocking(name: str, instead: str) -> None:
    """If an event loop runs in this thread, warn the caller that a call blocks the event loop.

    *name* is the text for the blocking call. *instead* is the text for a call that does not block the event loop.
    """
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # None, too, while another thread imports asyncio
    if running is None or running() is None:
        return
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{name} blocks the event loop of this thread until the broker has answered; {instead} does not",
        RuntimeWarning,
        stacklevel=level,
    )
