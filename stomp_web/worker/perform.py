"""Calling a handler with a message, and saying what came of it.

A message goes in as plain values (`Job`), and what comes back is ``None`` or a `Failure`, so that it may as well happen
in another process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
import typing

from ..errors import StompError
from .handlers import Function
from .message import Reject, read_message

__all__ = ["Around", "Failure", "Job", "Performer", "PerformerGone", "ThreadPerformer", "in_one_line", "no_context"]

Around = typing.Callable[[], typing.ContextManager[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A message for the handler with the number `handler`."""

    handler: int
    headers: dict[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    redelivered: bool
    failures: int


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
        handlers: typing.Sequence[tuple[Function, tuple[str, ...]]],
        keys: typing.Sequence[str | bytes],
        around: Around,
    ) -> None:
        self._handlers = handlers
        self._keys = keys
        self._around = around

    def start(self) -> None:
        """Nothing has to be made ready."""

    def perform(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return what went wrong, if anything did."""
        function, accept = self._handlers[job.handler]
        try:
            message = read_message(
                job.headers,
                job.body,
                accept=accept,
                keys=self._keys,
                redelivered=job.redelivered,
                failures=job.failures,
            )
        except StompError as error:  # a SerializationError, or no key for a signature: nobody here can read it
            return Failure(in_one_line(error), permanent=True)
        try:
            with self._around():
                function(message)
        except Reject as error:
            return Failure(in_one_line(error), permanent=True)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end the thread unseen
            return Failure(in_one_line(error), details=_traceback_of(error))
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


def in_one_line(error: BaseException) -> str:
    """Return what kind of error it is, and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback_of(error: BaseException) -> str:
    # Without the frame of `perform`, which is ours.
    inside = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, inside)).rstrip()
