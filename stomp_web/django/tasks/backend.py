"""`StompTaskBackend`: sends each task as a message to the queue of the task."""

from __future__ import annotations

import datetime
import functools
import typing

from django.core import checks
from django.db import transaction
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import InvalidTask
from django.tasks.signals import task_enqueued
from django.utils import timezone
from django.utils.crypto import get_random_string

from ...errors import DeliveryUnknown, StompError
from ..sending import asend, send
from .message import UnusableMessage, find_task, new_result, payload_of, priority_of
from .settings import TaskSettings, read_task_settings

if typing.TYPE_CHECKING:
    from django.tasks import Task, TaskResult

__all__ = ["StompTaskBackend"]

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")

_ID_LENGTH: typing.Final = 32  # characters, as many as the ids of Django's own backends have
_MILLISECOND: typing.Final = datetime.timedelta(milliseconds=1)
#: The header of a message that names the task, for those who look at messages and dead letters.
_TASK_HEADER: typing.Final = "x-task"


class StompTaskBackend(BaseTaskBackend):
    """Sends each task to its queue at a broker in ``settings.STOMP``. ``manage.py stomp_worker`` runs the tasks.

    ``settings.TASKS`` names this class as ``BACKEND``. Each name in ``QUEUES`` is a queue of the broker.

    * The priority of a task, from -100 to 100, becomes the priority of its message, from 0 to 9.
    * Each async task runs in its own event loop, as with asgiref's ``async_to_sync``.
    * If the option `scheduler` is true, `supports_defer` is true, and tasks may have `run_after`.
    * If results are stored, `supports_get_result` is true. Results are stored if ``"stomp_web.django.outbox"`` is
      in INSTALLED_APPS and the option `results` is not false.
    """

    supports_async_task = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, typing.Any]) -> None:
        super().__init__(alias, params)
        # Options that cannot be used are reported by `check`. An error here would stop the import of each module with
        # a task, and so ``manage.py check``, too.
        self.supports_defer = isinstance(self.options, dict) and self.options.get("scheduler") is True

    @functools.cached_property
    def settings(self) -> TaskSettings:
        """The options. Raises `ConfigurationError` if an option is invalid."""
        return read_task_settings(self.alias, self.options)

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]  # known only when the apps are loaded
        """Whether results are stored."""
        return self.settings.stores_results

    def enqueue(self, task: Task[_P, _R], args: list[typing.Any], kwargs: dict[str, typing.Any]) -> TaskResult[_P, _R]:
        """Send *task*, and return its result, which has the status ``READY``.

        With the outbox, the message becomes a row in the open transaction. If no transaction is open, the row gets
        its own transaction. With the option `on_commit`, the message is sent after the commit of the open transaction.

        Raises `InvalidTask` if the backend cannot run the task. Raises `TypeError` if an argument is not a JSON value.
        Raises the exceptions of `stomp_web.django.send`, too.
        """
        settings = self.settings
        result, arguments = self._prepare(task, args, kwargs)
        store = settings.store
        if settings.uses_outbox:
            database = settings.database
            with transaction.atomic(using=database):
                if store is not None:
                    store.insert(result)
                send(**arguments, outbox=True, database=database)
        else:
            # The row is there before a worker can have the message.
            if store is not None:
                store.insert(result)
            try:
                send(**arguments, outbox=False, on_commit=settings.on_commit)
            except DeliveryUnknown:  # the task may run
                raise
            except StompError:
                if store is not None:
                    store.delete(result.id)
                raise
        task_enqueued.send(type(self), task_result=result)
        return result

    async def aenqueue(
        self, task: Task[_P, _R], args: list[typing.Any], kwargs: dict[str, typing.Any]
    ) -> TaskResult[_P, _R]:
        """Send *task* without blocking the event loop. See `enqueue`.

        If sending needs the database, this method runs `enqueue` in another thread. Django uses this thread for the
        database queries of async code.
        """
        settings = self.settings
        if settings.uses_outbox or settings.on_commit or settings.stores_results:
            return await super().aenqueue(task, args, kwargs)
        result, arguments = self._prepare(task, args, kwargs)
        await asend(**arguments, outbox=False)
        await task_enqueued.asend(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[..., typing.Any]:
        """Return the stored result with the id *result_id*.

        Raises `TaskResultDoesNotExist` for an unknown id, and `NotImplementedError` if results are not stored.
        """
        store = self.settings.store
        if store is None:
            return super().get_result(result_id)
        return store.get(result_id, self.alias)

    def check(self, **kwargs: typing.Any) -> list[checks.CheckMessage]:
        """Return the problems of the backend's settings. See `stomp_web.django.checks`."""
        from .checks import check_backend

        return list(check_backend(self))

    def _prepare(
        self, task: Task[_P, _R], args: typing.Any, kwargs: typing.Any
    ) -> tuple[TaskResult[_P, _R], dict[str, typing.Any]]:
        """Return a new `TaskResult` for *task*, and the arguments of `stomp_web.django.send` for its message."""
        self.validate_task(task)
        _check_path(task)
        settings = self.settings
        now = timezone.now()
        result = new_result(task, get_random_string(_ID_LENGTH), args, kwargs, self.alias, now)
        headers = {**settings.headers, "x-message-id": result.id, _TASK_HEADER: task.module_path}
        if task.run_after is not None and task.run_after > now:
            milliseconds = -((now - task.run_after) // _MILLISECOND)  # rounded up: it is the earliest time
            headers["AMQ_SCHEDULED_DELAY"] = str(milliseconds)
        return result, {
            "destination": settings.destination_of(task.queue_name),
            "payload": payload_of(result),
            "headers": headers,
            "using": settings.using,
            "serializer": settings.serializer,
            "priority": priority_of(task),
        }


def _check_path(task: Task[..., typing.Any]) -> None:
    """Raise `InvalidTask` if a worker could not find *task* by its path."""
    path = task.module_path
    if path.startswith("__main__."):
        raise InvalidTask(f"{path} is in the program's main module, which a worker cannot import; put it into a module")
    try:
        find_task(path)
    except UnusableMessage as error:
        raise InvalidTask(f"A worker could not find this task: {error}") from error
