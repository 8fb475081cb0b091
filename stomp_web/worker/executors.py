"""Executors call handlers: their interface, and the executor that calls handlers in the worker thread.

Messages (`Job`) and outcomes (`Failure`) are plain values, which can travel to another process and back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import types
import typing

from ..client.message import message_id_of
from ..errors import StompError
from ..serializers import deserialize
from .error_text import error_in_one_line, traceback_text
from .handlers import Handler, ReceivedMessage, Reject
from .once import OnceInbox, check_identity

__all__ = ["Around", "Executor", "ExecutorGone", "Failure", "ForkGuard", "Job", "ThreadExecutor", "read_message"]

Around = typing.Callable[[], typing.ContextManager[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A message for a handler.

    `subscription` is the id of its subscription. `identity` is the message's id, or empty if it may change.
    """

    subscription: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    redelivered: bool
    failures: int
    defects: tuple[str, ...] = ()
    identity: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a handler did not handle a message. `details` is the traceback; if `permanent`, another try would fail."""

    error: str
    details: str = ""
    permanent: bool = False


class ExecutorGone(Exception):
    """The process had ended before it could take the message, so no handler was called."""


class Executor:
    """Calls handlers for one worker thread. The methods of this class are those of an executor that cannot die."""

    #: Whether it can end by itself, even while it is idle.
    can_die = False

    def start(self) -> None:
        """Get ready to execute. Raises `ConfigurationError` if that cannot be done."""

    def execute(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return its failure, if any. Raises `ExecutorGone`."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether `execute` can be called."""
        return True

    def stop(self) -> None:
        """Shut down cleanly."""

    def kill(self) -> bool:
        """End at once. Return whether this ends a call of `execute` that runs in another thread."""
        return False


class ThreadExecutor(Executor):
    """Calls handlers in the caller's thread. `execute` raises nothing, whatever the application's code does."""

    def __init__(
        self,
        handlers: typing.Iterable[Handler],
        keys: typing.Sequence[str | bytes],
        around: Around,
        inbox: OnceInbox | None = None,
    ) -> None:
        self._inbox = inbox
        self._handlers = {handler.id: handler for handler in handlers}
        self._keys = keys
        self._around = around

    def execute(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return its failure, if any. A forked child ends here."""
        try:
            with ForkGuard() as guard:
                return self._execute(job, guard)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end the thread unseen
            return Failure(error_in_one_line(error), traceback_text(error, __file__))

    def _execute(self, job: Job, guard: ForkGuard) -> Failure | None:
        handler = self._handlers[job.subscription]
        try:
            message = read_message(job, handler, self._keys)
        except StompError as error:  # a SerializationError, or no key for a signature: it is unreadable here
            return Failure(error_in_one_line(error), permanent=True)
        try:
            with self._around():
                if handler.once and self._inbox is not None:
                    # The inbox commits only if the handler has run; a forked child ends before it could commit.
                    run = functools.partial(self._call, handler, guard)
                    name = f"{handler.name} {handler.destination}"
                    self._inbox.run(name, check_identity(job.identity), run, message)
                else:
                    self._call(handler, guard, message)
        except Reject as error:
            return Failure(error_in_one_line(error), permanent=True)
        return None

    @staticmethod
    def _call(handler: Handler, guard: ForkGuard, *arguments: typing.Any) -> None:
        # A forked child ends before `around` ends, because `around` may then write to a database, on a connection that
        # the child shares with its parent.
        with guard:
            result = handler.function(*arguments)
        _check_has_run(result)


def read_message(job: Job, handler: Handler, keys: typing.Sequence[str | bytes]) -> ReceivedMessage:
    """Return the message; its payload is decoded, or the body if nothing is accepted. Raises `SerializationError`."""
    headers, payload = job.headers, job.body
    destination = headers.get("destination", "")
    if handler.accept:
        sent_to = (handler.destination, *handler.sent_to)
        payload = deserialize(
            job.body, headers, accept=handler.accept, keys=keys, untyped=handler.untyped, sent_to=sent_to
        )
    message_id = message_id_of(headers) or headers.get("message-id", "")
    return ReceivedMessage(
        payload, job.body, headers, destination, message_id, job.redelivered, job.failures, job.defects
    )


def _check_has_run(result: object) -> None:
    """Raise if the handler has returned something that still has to be run."""
    if isinstance(result, types.GeneratorType | types.CoroutineType):
        result.close()  # otherwise Python warns that the coroutine was never awaited
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            f"the handler returned {type(result).__name__}, which nothing runs: a handler is a plain function that has "
            "done its work when it returns; call asyncio.run() in it, or decorate it with asgiref.sync.async_to_sync"
        )


class ForkGuard:
    """Only the process that has made the guard leaves its block; a forked child ends at the end of the block.

    Back in the worker's code, the child would acknowledge its parent's messages and take others, on its connection.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __enter__(self) -> ForkGuard:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if os.getpid() != self._process:
            _exit(error)


def _exit(error: BaseException | None) -> None:
    """End this process: with 0 without an *error*, like Python for a `SystemExit`, else with 1 and a traceback."""
    if isinstance(error, SystemExit):
        code = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
        if code and not isinstance(error.code, int):
            _write(str(error.code))
    else:
        code = int(error is not None)
        if error is not None:
            _write(traceback_text(error))
        _write(
            f"stomp-web: process {os.getpid()}, which a handler has forked, returned from the handler, and ends here; "
            "the message is its parent's. End such a process with os._exit() or sys.exit()."
        )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, full, None: the process ends anyhow
            stream.flush()
    os._exit(code)  # without ``finally`` blocks and ``atexit`` functions, which are the parent's


def _write(text: str) -> None:
    # Not by `logging`: a thread that does not exist in this process may hold the lock of a log handler.
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
