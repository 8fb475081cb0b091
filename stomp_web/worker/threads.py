"""Calling handlers in the worker thread.

Whatever the application's code does (a serializer, `around`, the handler, its exception), `ThreadExecutor.execute`
returns ``None`` or a `Failure`, and raises nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import types
import typing

from ..errors import StompError
from .error_text import error_in_one_line, traceback_text
from .executors import Around, Executor, Failure, Job
from .forked import exit_forked_child
from .handlers import Function
from .message import Reading, ReceivedMessage, Reject, read_message

__all__ = ["ThreadExecutor", "no_context"]

_OWN_FILES: typing.Final = frozenset((__file__,))


class ThreadExecutor(Executor):
    """Calls handlers in the thread that calls `execute`. *handlers* are found by the id of their subscription."""

    def __init__(
        self,
        handlers: typing.Mapping[str, tuple[Function, Reading]],
        keys: typing.Sequence[str | bytes],
        around: Around,
    ) -> None:
        self._handlers = handlers
        self._keys = keys
        self._around = around

    def execute(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return its failure, if any.

        A child process that the handler has forked ends in here.
        """
        process = os.getpid()
        try:
            failure = self._execute(job, process)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end the thread unseen
            failure = Failure(error_in_one_line(error), details=traceback_text(error, _OWN_FILES))
        if os.getpid() != process:  # forked by `around` or a serializer
            exit_forked_child(None)
        return failure

    def _execute(self, job: Job, process: int) -> Failure | None:
        function, reading = self._handlers[job.subscription]
        try:
            message = read_message(
                job.headers,
                job.body,
                reading=reading,
                keys=self._keys,
                redelivered=job.redelivered,
                failures=job.failures,
                defects=job.defects,
            )
        except StompError as error:  # a SerializationError, or no key for a signature: it cannot be read here
            return Failure(error_in_one_line(error), permanent=True)
        try:
            with self._around():
                _call(function, message, process)
        except Reject as error:
            return Failure(error_in_one_line(error), permanent=True)
        return None


def no_context() -> typing.ContextManager[object]:
    """The `around` of a worker that was made without."""
    return contextlib.nullcontext()


def _call(function: Function, message: ReceivedMessage, process: int) -> None:
    """Call the handler, and raise if it has not run. *process* is the one in which it was called."""
    try:
        result = function(message)
    except BaseException as error:
        if os.getpid() != process:
            # Before the end of `around`, which may write to a database on a connection that this process shares with
            # its parent.
            exit_forked_child(error)
        raise
    if os.getpid() != process:
        exit_forked_child(None)
    if isinstance(result, types.GeneratorType | types.CoroutineType):
        result.close()  # without it, Python warns that it was never awaited
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            f"the handler returned {type(result).__name__}, which nothing runs: a handler is a plain function that has "
            "done its work when it returns; call asyncio.run() in it, or decorate it with asgiref.sync.async_to_sync"
        )
