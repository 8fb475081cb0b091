"""Blocking calls beside an event loop: made in a thread of the loop's executor, or warned of.

The threads are those of the loop's default executor, as with `asyncio.to_thread`. The library starts none of its own;
``loop.set_default_executor`` says how many there are.
"""

from __future__ import annotations

import collections
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
    """Call *function* in a thread, with the seconds that are left of *seconds*, and return what it returns.

    It sees the context variables of the caller. The *message* that it sends is named in errors and in the log. Waiting
    for a thread is part of *seconds*; if none becomes free, it raises `PoolTimeout`, and nothing was done.

    If the task is cancelled while *function* waits for a thread, it is not called. If it runs already, it goes on to
    its end, as a thread cannot be cancelled; what it raises then is logged.
    """
    import asyncio  # the core is imported without it

    deadline = Deadline(checked(seconds))
    call = _Call(f"message {message.id} to {message.destination}")

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
            call.failed(error)
            raise

    context = contextvars.copy_context()
    try:
        return await asyncio.get_running_loop().run_in_executor(None, context.run, work)
    except asyncio.CancelledError:
        call.abandon()
        raise


class _Call:
    """One call in a thread, whose failure is logged if no task waits for it any more."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._abandoned = False
        self._errors: collections.deque[Exception] = collections.deque()

    def failed(self, error: Exception) -> None:
        self._errors.append(error)
        self._log_if_abandoned()

    def abandon(self) -> None:
        self._abandoned = True
        self._log_if_abandoned()

    def _log_if_abandoned(self) -> None:
        # Called in both threads, each after it has noted its part: one of them finds both, and takes the error.
        if self._abandoned:
            try:
                error = self._errors.popleft()
            except IndexError:
                return
            _log.warning("%s: after the task that sent it had been cancelled: %s", self._what, error)


def warn_of_blocking(name: str, instead: str) -> None:
    """Warn the caller of the library, if an event loop runs in this thread: *name* blocks it."""
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # None also while another thread is importing asyncio
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
