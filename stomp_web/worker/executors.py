"""What calls handlers: the executors' common interface.

A message goes in as plain values (`Job`), and ``None`` or a `Failure` comes back, so that both can also travel to
another process and back. `stomp_web.worker.threads` calls handlers in the worker thread itself,
`stomp_web.worker.processes` in another process.
"""

from __future__ import annotations

import dataclasses
import typing

__all__ = ["Around", "Executor", "ExecutorGone", "Failure", "Job"]

Around = typing.Callable[[], typing.ContextManager[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A message for a handler; `subscription` is the id of its subscription."""

    subscription: str
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


class ExecutorGone(Exception):
    """The process had ended before it could take a message. Nothing was begun."""


class Executor:
    """Calls handlers for one worker thread. Here is the behaviour of an executor that cannot die."""

    #: Whether it can end by itself, even while it is idle.
    can_die = False

    def start(self) -> None:
        """Make ready. Raises `ConfigurationError` if that cannot be done."""

    def execute(self, job: Job) -> Failure | None:
        """Decode the message, call the handler, and return its failure, if any. Raises `ExecutorGone`."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether `execute` can be called."""
        return True

    def stop(self) -> None:
        """Shut down cleanly."""

    def kill(self) -> bool:
        """End at once, and return whether that makes an `execute` return that runs in another thread."""
        return False
