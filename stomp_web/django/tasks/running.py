"""The handler that runs the tasks of one task backend. ``manage.py stomp_worker`` calls the handler for each message.

A message is acknowledged after its task has run and the result is stored. If the worker dies during the task, the
broker delivers the message again, and the task runs again.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
import typing

from django.db import DatabaseError, InterfaceError
from django.tasks import TaskContext, TaskResultStatus, task_backends
from django.tasks.base import TaskError
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from ..._internal.log import get_logger
from ...errors import ConfigurationError
from ...worker import Handlers, ReceivedMessage, Reject
from ...worker.executors import ForkGuard
from ...worker.once import InboxUnavailable
from .backend import StompTaskBackend
from .message import UnusableMessage, assign, id_of, read_result, set_end

if typing.TYPE_CHECKING:
    from django.tasks import TaskResult

    from .results import TaskResults
    from .settings import TaskSettings

__all__ = ["TaskHandler", "subscribe_queues", "subscribe_tasks"]

_log = get_logger("worker")

#: The id of a worker that has run a task before, if results are not stored.
UNKNOWN_WORKER: typing.Final = "unknown"
# Clocks of machines differ. So a task that comes a little before its time waits in the worker.
_MOST_EARLY: typing.Final = 5.0  # seconds
_PURGED_EVERY: typing.Final = 3600.0  # seconds
_FAULTS: typing.Final = (DatabaseError, InterfaceError)
_LONGEST_FAULT: typing.Final = 500  # characters of a database's error


class TaskHandler:
    """Runs the tasks of the backend with the alias *alias* in ``settings.TASKS``. A `TaskHandler` can be pickled."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._purge_at = 0.0

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return TaskHandler, (self._alias,)

    def __repr__(self) -> str:
        return f"settings.TASKS[{self._alias!r}]"

    def __call__(self, message: ReceivedMessage) -> None:
        """Run the task in *message*, and store its result.

        Raises `Reject` if the message names no task that can run here, or if the message comes too early. If the task
        has raised an exception and must run again, raises this exception. Raises `InboxUnavailable` if the result
        cannot be stored. In this case, the worker tries the message again, and counts no failure. If the task itself
        has raised `InboxUnavailable` and must run again, raises `RuntimeError` instead.
        """
        backend = typing.cast("StompTaskBackend", task_backends[self._alias])
        settings = backend.settings
        store = settings.store
        try:
            result = read_result(message, self._alias)
            _wait_until_due(result)
        except UnusableMessage as error:
            if store is not None and (identity := id_of(message.payload)) is not None:
                with _Storing(store, identity):
                    store.refuse(identity, _error_of(error), timezone.now())
            raise Reject(str(error)) from error
        run = _Run(backend, result, store, settings)
        if run.begin(message):
            run.call()
            self._purge(store, settings.keep)  # after the result is stored
        else:
            _log.info("task %s has finished before, and does not run again", result.id)

    def _purge(self, store: TaskResults | None, days: float) -> None:
        """Once an hour, delete the results whose tasks ended more than *days* days ago."""
        if store is None or time.monotonic() < self._purge_at:
            return
        self._purge_at = time.monotonic() + _PURGED_EVERY
        try:
            store.purge(self._alias, days)
        except _FAULTS as error:
            _log.warning("old results of tasks could not be removed: %s", error)
            store.rest()


class _Run:
    """One attempt to run a task."""

    def __init__(
        self,
        backend: StompTaskBackend,
        result: TaskResult[..., typing.Any],
        store: TaskResults | None,
        settings: TaskSettings,
    ) -> None:
        self._sender = type(backend)
        self._result = result
        self._store = store
        self._max_attempts = settings.max_attempts

    def begin(self, message: ReceivedMessage) -> bool:
        """Record that the attempt begins. Return false if the task has already finished and must not run again."""
        result, now = self._result, timezone.now()
        assign(result, status=TaskResultStatus.RUNNING, started_at=now, last_attempted_at=now)
        if self._store is None:
            result.worker_ids.extend([UNKNOWN_WORKER] * max(message.failures, int(message.redelivered)))
            result.worker_ids.append(_worker_id())
            return True
        with _Storing(self._store, result.id):
            return self._store.begin(result, _worker_id())

    def call(self) -> None:
        """Call the task's function, store what the function returned or raised, and send the signals."""
        task_started.send_robust(self._sender, task_result=self._result)
        try:
            with ForkGuard():  # a process that the task has forked must not store the result
                value = self._value()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # The signal is sent here, because a receiver may ask for the exception.
            self._end(_error_of(error), 0 if isinstance(error, Reject) else self._max_attempts)
            if self._result.status != TaskResultStatus.READY:
                return
            if isinstance(error, InboxUnavailable):  # here it would mean that the result cannot be stored
                raise RuntimeError(f"the task {self._result.task.module_path} has raised {error!r}") from error
            raise
        else:
            assign(self._result, _return_value=value)
            self._end(None, self._max_attempts)

    def _value(self) -> typing.Any:
        """Call the task's function. Return the value that the function returned, converted to types that JSON has."""
        result = self._result
        task = result.task
        context = (TaskContext(task_result=result),) if task.takes_context else ()
        value = task.call(*context, *result.args, **result.kwargs)
        try:
            value = normalize_json(value)
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            error.add_note(
                f"The task {task.module_path} has run, and returned a value that is not JSON, of type "
                f"{type(value).__name__}. Return numbers, texts, lists and dicts only."
            )
            raise
        return value

    def _end(self, error: TaskError | None, max_attempts: int) -> None:
        """Store the end of the attempt. After the last attempt, send the signal ``task_finished``.

        *error* is the attempt's exception, or ``None`` after a success. *max_attempts* limits how often the
        task is tried: see `TaskResults.finish`.
        """
        result, store = self._result, self._store
        if store is None:
            if error is not None:
                result.errors.append(error)
            set_end(result, error, again=result.attempts < max_attempts)
            self._send_end()
            return
        try:
            _finish(store, result, error, max_attempts)
        except _FAULTS as fault:
            # If the database refuses the value or the traceback, for example because it is too large, it would do so
            # each time. Otherwise this raises, too.
            assign(result, _return_value=None)
            with _Storing(store, result.id):
                store.finish(result, _short_error_of(fault), 0 if error is None else max_attempts)
            _log.warning("the end of task %s could not be stored; its error was stored instead: %s", result.id, fault)
            self._send_end()
        else:
            self._send_end()

    def _send_end(self) -> None:
        if self._result.status != TaskResultStatus.READY:
            task_finished.send_robust(self._sender, task_result=self._result)


def _finish(
    store: TaskResults, result: TaskResult[..., typing.Any], error: TaskError | None, max_attempts: int
) -> None:
    """Store the end of an attempt. If storing fails, store it once more: the task may have broken the connection."""
    store.rest()
    try:
        store.finish(result, error, max_attempts)
    except _FAULTS:
        store.rest()
        store.finish(result, error, max_attempts)


class _Storing:
    """A context manager. It raises `InboxUnavailable` if the database does not store the result of a task."""

    def __init__(self, store: TaskResults, identity: str) -> None:
        self._store = store
        self._identity = identity

    def __enter__(self) -> None:
        self._store.rest()  # the task may have broken the connection

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _FAULTS):
            raise InboxUnavailable(
                f"the result of task {self._identity} cannot be stored in the database {self._store.database!r}: "
                f"{error}"
            ) from error


def _wait_until_due(result: TaskResult[..., typing.Any]) -> None:
    """Wait until the task of *result* may run. Raises `UnusableMessage` if this would take more than five seconds."""
    run_after = result.task.run_after
    early = 0.0 if run_after is None else (run_after - timezone.now()).total_seconds()
    if early > _MOST_EARLY:
        raise UnusableMessage(
            f"the task must not run before {run_after}, and the broker has delivered it {early:.0f} s too early; the "
            "option scheduler is for brokers that delay messages by AMQ_SCHEDULED_DELAY. ActiveMQ does so with "
            'schedulerSupport="true"'
        )
    if early > 0:
        time.sleep(early)


def _error_of(error: BaseException) -> TaskError:
    kind = type(error)
    return TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback="".join(traceback.format_exception(error)),
    )


def _short_error_of(fault: BaseException) -> TaskError:
    kind = type(fault)
    return TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback="The task has run, and the database has refused its value or its traceback: "
        f"{kind.__name__}: {str(fault)[:_LONGEST_FAULT]}\n",
    )


def _worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def subscribe_queues(handlers: Handlers, backend: StompTaskBackend) -> None:
    """Add to *handlers* a handler for each queue of *backend*.

    Raises `ConfigurationError` if *backend* has no queue, if the name of a queue is invalid, or if a queue already has
    a handler with the same headers. Raises `InvalidFrame` if the destination of a queue is invalid.
    """
    settings = backend.settings
    if not backend.queues:
        raise ConfigurationError("QUEUES is empty; a worker can only receive from queues that it knows", "QUEUES")
    function = TaskHandler(backend.alias)
    for name in sorted(backend.queues, key=str):
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"the name of a queue must be a text, not {name!r}", "QUEUES")
        handlers.subscribe(settings.destination_of(name), accept=(settings.serializer,), headers=settings.headers)(
            function
        )


def subscribe_tasks(handlers: Handlers, using: str) -> None:
    """Add to *handlers* a handler for each queue of the task backends whose broker has the alias *using*.

    Raises the exceptions of `subscribe_queues`. For a backend that stores results, raises `ConfigurationError` if the
    table of the results is missing, or if ``AUTOCOMMIT`` is off in the settings of the database.
    """
    for alias in task_backends:
        backend = task_backends[alias]
        if isinstance(backend, StompTaskBackend) and backend.settings.using == using:
            subscribe_queues(handlers, backend)
            if (store := backend.settings.store) is not None:
                store.check()
