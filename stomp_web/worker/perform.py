"""Calling a handler with a message, and saying what came of it.

A message goes in as plain values (`Job`), and what comes back is ``None`` or a `Failure`, so that it may as well happen
in another process. Whatever the application's code does (a serializer, `around`, the handler, its exception), `perform`
returns one of the two, and raises nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import types
import typing

from ..errors import StompError
from .describe import error_in_one_line, traceback_text
from .forked import exit_forked_child
from .handlers import Function
from .message import Reading, ReceivedMessage, Reject, read_message

__all__ = ["Around", "Failure", "Job", "Performer", "PerformerGone", "ThreadPerformer", "no_context"]

_OWN_FILES: typing.Final = frozenset((__file__,))

Around = typing.Callable[[], typing.ContextManager[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A message for the handler with the number `handler`."""

    handler: int
    headers: dict[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    redelivered: bool
    failures: int
    defects: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a handler did not handle a message: `error` in one line, and `details`, the traceback as text.

    `permanent` if another try can have no other end.
    """

    error: str
    details: str = ""
    permanent: bool = False


class PerformerGone(Exception):
    """The process was not there any more when it should have taken a message. Nothing was begun."""


class Performer(typing.Protocol):
    """Calls handlers for one hand. *perishable* if it can die while nobody asks for anything."""

    @property
    def perishable(self) -> bool:
        """Whether it can die."""

    def start(self) -> None:
        """Make ready. Raises `ConfigurationError` if that cannot be done."""

    def perform(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return what went wrong, if anything did. Raises `PerformerGone`."""

    def ready(self) -> bool:
        """Whether `perform` can be called."""

    def stop(self) -> None:
        """End in order."""

    def kill(self) -> bool:
        """End at once, and return whether a `perform` that is under way in another thread returns by that."""


class ThreadPerformer:
    """Calls handlers in the thread of whoever calls `perform`."""

    perishable = False

    def __init__(
        self,
        handlers: typing.Sequence[tuple[Function, Reading]],
        keys: typing.Sequence[str | bytes],
        around: Around,
    ) -> None:
        self._handlers = handlers
        self._keys = keys
        self._around = around

    def start(self) -> None:
        """Nothing has to be made ready."""

    def perform(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return what went wrong, if anything did.

        A child process that the handler has forked does not come back from here.
        """
        process = os.getpid()
        try:
            failure = self._perform(job, process)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end the thread unseen
            failure = Failure(error_in_one_line(error), details=traceback_text(error, _OWN_FILES))
        if os.getpid() != process:  # forked by `around` or a serializer
            exit_forked_child(None)
        return failure

    def _perform(self, job: Job, process: int) -> Failure | None:
        function, reading = self._handlers[job.handler]
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
        except StompError as error:  # a SerializationError, or no key for a signature: nobody here can read it
            return Failure(error_in_one_line(error), permanent=True)
        try:
            with self._around():
                _call(function, message, process)
        except Reject as error:
            return Failure(error_in_one_line(error), permanent=True)
        return None

    def ready(self) -> bool:
        """Always."""
        return True

    def stop(self) -> None:
        """Nothing to end."""

    def kill(self) -> bool:
        """A thread cannot be ended from outside."""
        return False


def no_context() -> typing.ContextManager[object]:
    """What is around a message if nothing else was asked for."""
    return contextlib.nullcontext()


def _call(function: Function, message: ReceivedMessage, process: int) -> None:
    """Call the handler, and raise if it has not run. *process* is the one whose business the rest is."""
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
