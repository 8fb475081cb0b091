"""Executors call handlers. This module has the interface, and the executor that calls handlers in the worker thread.

A message (`Job`) and its outcome (`Failure`) are plain values, so that a pipe can carry them to another process.
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
from ..serializers.base import Keys
from .error_text import error_in_one_line, traceback_text
from .handlers import Handler, ReceivedMessage, Reject
from .once import InboxUnavailable, OnceInbox, check_identity

__all__ = [
    "Around",
    "Executor",
    "ExecutorGone",
    "Failure",
    "ForkGuard",
    "Job",
    "ThreadExecutor",
    "Trace",
    "read_message",
]

Around = typing.Callable[[], typing.ContextManager[object]]
#: Returns a context manager in which a message is decoded and handled. It yields a function that takes the result of
#: `Executor.execute`. Executors in another process pickle it.
Trace = typing.Callable[["Handler", "Job"], typing.ContextManager[typing.Callable[["Failure | None"], object]]]


# Not frozen, because CPython takes four times as long to make a frozen object.
@dataclasses.dataclass(slots=True, eq=False)
class Job:
    """A message for a handler.

    `subscription` is the subscription's id. `identity` is the message's id, or empty if the message has no usable id
    (see `Delivery`). `server` is the broker's name, which only a `Trace` needs.
    """

    subscription: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    redelivered: bool
    failures: int
    defects: tuple[str, ...] = ()
    identity: str = ""
    server: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a message was not handled. `details` is the traceback.

    If `permanent` is true, every further try would fail. If `counts` is false, the message is not at fault, and the
    worker tries the message again as often as needed. With ``ack="auto"``, `counts` has no effect.
    """

    error: str
    details: str = ""
    permanent: bool = False
    counts: bool = True


class ExecutorGone(Exception):
    """The process for handlers ended before it took the message, so no handler was called."""


class Executor:
    """Calls handlers for one worker thread. A subclass that leaves `can_die` false needs to override only `execute`."""

    #: Whether the executor can end by itself, even while it is idle.
    can_die = False

    def start(self) -> None:
        """Prepare for `execute`. Raises `ConfigurationError` if this fails."""

    def execute(self, job: Job) -> Failure | None:
        """Decode the message and call the handler. Return any failure. May raise `ExecutorGone`."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether `execute` can be called."""
        return True

    def stop(self) -> None:
        """Release the process or other resources. The worker thread calls this method when the thread ends."""

    def kill(self) -> bool:
        """Kill the process of the handlers, if there is one. Return true if a running `execute` ends, too."""
        return False


class ThreadExecutor(Executor):
    """Calls handlers in the caller's thread. `execute` returns a `Failure` for every exception."""

    def __init__(
        self,
        handlers: typing.Iterable[Handler],
        keys: Keys,
        around: Around,
        inbox: OnceInbox | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._inbox = inbox
        self._trace = trace
        self._handlers = {handler.id: handler for handler in handlers}
        self._keys = keys
        self._around = around

    def check_inbox(self) -> None:
        """Raise `ConfigurationError` if a handler needs the inbox and the table of the inbox is missing."""
        if self._inbox is not None and any(handler.once for handler in self._handlers.values()):
            with self._around():
                self._inbox.check()

    def execute(self, job: Job) -> Failure | None:
        """Decode the message, call the handler and return any failure.

        If the handler forks, the child process ends after the handler. Only the parent process leaves this method.
        """
        try:
            with ForkGuard() as guard:
                if self._trace is None:
                    return self._execute(job, guard)
                with self._trace(self._handlers[job.subscription], job) as note:
                    failure = self._execute(job, guard)
                    note(failure)
                    return failure
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end the thread unseen
            return Failure(error_in_one_line(error), traceback_text(error, __file__))

    def _execute(self, job: Job, guard: ForkGuard) -> Failure | None:
        handler = self._handlers[job.subscription]
        try:
            message = read_message(job, handler, self._keys)
        except StompError as error:  # a SerializationError, or there is no key to check the signature
            return Failure(error_in_one_line(error), permanent=True)
        try:
            with self._around():
                if handler.once and self._inbox is not None:
                    # The inbox commits only after the handler has run. A forked child ends before the commit.
                    run = functools.partial(self._call, handler, guard)
                    name = f"{handler.name} {handler.destination}"
                    self._inbox.run(name, check_identity(job.identity), run, message)
                else:
                    self._call(handler, guard, message)
        except Reject as error:
            return Failure(error_in_one_line(error), permanent=True)
        except InboxUnavailable as error:
            return Failure(str(error), counts=False)
        return None

    @staticmethod
    def _call(handler: Handler, guard: ForkGuard, *arguments: typing.Any) -> None:
        # A forked child must not run the end of `around`, which may write to a database: the child shares the database
        # connection with its parent.
        with guard:
            result = handler.function(*arguments)
        _check_has_run(result)


def read_message(job: Job, handler: Handler, keys: Keys) -> ReceivedMessage:
    """Return the message of *job*. If *handler* accepts no serializer, the payload is the undecoded body."""
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
    """Raise `TypeError` if *result* is an awaitable or a generator, because the handler's code has not run."""
    if result is None:
        return
    if isinstance(result, types.GeneratorType | types.CoroutineType):
        result.close()  # otherwise Python warns that the coroutine was never awaited
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            f"the handler returned {type(result).__name__}, which is never run: a handler is a plain function that has "
            "done its work when it returns; call asyncio.run() in it, or decorate it with asgiref.sync.async_to_sync"
        )


class ForkGuard:
    """A context manager that ends a forked child at the end of the ``with`` block. Only the parent continues.

    Without a guard, the child would take and acknowledge messages on its parent's connection.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __enter__(self) -> ForkGuard:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if os.getpid() != self._process:
            _exit(error)


def _exit(error: BaseException | None) -> None:
    """End this process with the exit code that Python would use for *error*.

    Write the traceback, too, unless *error* is ``None`` or a `SystemExit`.
    """
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
        with contextlib.suppress(Exception):  # closed, full or None: the process ends anyway
            stream.flush()
    os._exit(code)  # without ``finally`` blocks and ``atexit`` functions: they belong to the parent


def _write(text: str) -> None:
    # Not with `logging`: a thread that exists only in the parent may hold the lock of a log handler.
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
