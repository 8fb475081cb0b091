"""The message of a task. Its body is a JSON object. The body and the header ``x-message-id`` hold the result's id.

A signature covers the body, but not the header. So the worker uses the body's id to recognize copies of signed tasks.

The sender writes the path of the task into the body. The worker calls the object at this path only if it is a `Task`.
"""

from __future__ import annotations

import datetime
import importlib
import typing

from django.conf import settings
from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

if typing.TYPE_CHECKING:
    from django.tasks.base import TaskError

    from ...worker import ReceivedMessage

__all__ = [
    "LONGEST_ID",
    "REFUSAL",
    "UnusableMessage",
    "assign",
    "count_raised",
    "find_task",
    "id_of",
    "new_result",
    "payload_of",
    "priority_of",
    "read_result",
    "read_time",
    "set_end",
    "time_text",
]

_P = typing.ParamSpec("_P")
_R = typing.TypeVar("_R")

#: The longest id of a result, in characters. Django's documentation promises ids of less than 64 characters.
LONGEST_ID: typing.Final = 64
# The fields of the JSON object, and the types of their values.
_FIELDS: typing.Final[dict[str, tuple[type, ...]]] = {
    "id": (str,),
    "task": (str,),
    "args": (list,),
    "kwargs": (dict,),
    "queue": (str,),
    "priority": (int,),
    "run_after": (str, type(None)),
    "enqueued_at": (str,),
}


class UnusableMessage(Exception):
    """The message is not a task, or this worker cannot run the message's task."""


#: How the error of a refused message is named in a result.
REFUSAL: typing.Final = f"{UnusableMessage.__module__}.{UnusableMessage.__qualname__}"


def priority_of(task: Task[..., typing.Any]) -> int:
    """Return the priority of the message (0 to 9) for the priority of *task* (-100 to 100).

    A task's default priority, 0, becomes 4, the default of brokers. Priorities above 0 become 5 to 9. Priorities below
    0 become 0 to 3.
    """
    if task.priority > 0:
        return 4 + -(-task.priority // 20)
    return 4 + task.priority // 25


def new_result(
    task: Task[_P, _R],
    identity: str,
    args: typing.Any,
    kwargs: typing.Any,
    backend: str,
    enqueued_at: datetime.datetime | None,
) -> TaskResult[_P, _R]:
    """Return the result of a task that has not run yet. Raises `TypeError` if an argument is not a JSON value."""
    return TaskResult(
        task=task,
        id=identity,
        status=TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=args,
        kwargs=kwargs,
        backend=backend,
        errors=[],
        worker_ids=[],
    )


def assign(result: TaskResult[..., typing.Any], **values: object) -> None:
    """Set attributes of *result*. The class of *result* is frozen, but Django lets a backend change a result."""
    for name, value in values.items():
        object.__setattr__(result, name, value)


def set_end(result: TaskResult[..., typing.Any], error: TaskError | None, *, again: bool) -> None:
    """Set the status and `finished_at` of *result* after an attempt. *error* is ``None`` after a success.

    If the attempt has raised *error* and *again* is true, the task will run again, so the status becomes ``READY``.
    """
    if error is not None and again:
        assign(result, status=TaskResultStatus.READY, finished_at=None)
    else:
        status = TaskResultStatus.SUCCESSFUL if error is None else TaskResultStatus.FAILED
        assign(result, status=status, finished_at=timezone.now())


def count_raised(errors: typing.Iterable[TaskError]) -> int:
    """Return how many of *errors* the task has raised. An `UnusableMessage` does not count: the task has not run."""
    return sum(error.exception_class_path != REFUSAL for error in errors)


def payload_of(result: TaskResult[..., typing.Any]) -> dict[str, typing.Any]:
    """Return the JSON object for the body of the task's message."""
    task = result.task
    return {
        "id": result.id,
        "task": task.module_path,
        "args": result.args,
        "kwargs": result.kwargs,
        "queue": task.queue_name,
        "priority": task.priority,
        "run_after": time_text(task.run_after),
        "enqueued_at": time_text(result.enqueued_at),
    }


def read_result(message: ReceivedMessage, backend: str) -> TaskResult[..., typing.Any]:
    """Return a new result for the task in *message*. *backend* is the alias of the task backend.

    Raises `UnusableMessage` if the task cannot run.
    """
    payload = message.payload
    if not isinstance(payload, dict):
        raise UnusableMessage(f"the message is no task: its body is not a JSON object, but {type(payload).__name__}")
    for name, kinds in _FIELDS.items():
        value = payload.get(name)
        if name not in payload or not isinstance(value, kinds) or isinstance(value, bool):
            raise UnusableMessage(f"the message is no task: its field {name!r} is missing or has a wrong type")
    if id_of(payload) is None:
        raise UnusableMessage(f"the message is no task: its field 'id' must have 1 to {LONGEST_ID} characters")
    try:
        enqueued_at, run_after = read_time(payload["enqueued_at"]), read_time(payload["run_after"])
    except ValueError as error:
        raise UnusableMessage(f"the message is no task: {error}") from error
    task = find_task(payload["task"])
    try:
        task = task.using(
            priority=payload["priority"], queue_name=payload["queue"], run_after=run_after, backend=backend
        )
    except InvalidTask as error:
        raise UnusableMessage(f"the task {payload['task']} cannot run here: {error}") from error
    return new_result(task, payload["id"], payload["args"], payload["kwargs"], backend, enqueued_at)


def id_of(payload: object) -> str | None:
    """Return the valid id in *payload*, or ``None``. ``x-message-id`` is not used, because no signature covers it."""
    identity = payload.get("id") if isinstance(payload, dict) else None
    return identity if isinstance(identity, str) and 0 < len(identity) <= LONGEST_ID else None


def find_task(path: str) -> Task[..., typing.Any]:
    """Import the module of a task, and return the task. Raises `UnusableMessage` if the task is not found.

    *path* is the name of the module and the name of the task in the module, such as ``shop.tasks.send_invoice``.
    """
    module_name, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")) or not module_name:
        raise UnusableMessage(f"{path!r} is not the path of a task, such as 'shop.tasks.send_invoice'")
    try:
        module = importlib.import_module(module_name)  # it waits if another thread imports the module now
    except (Exception, SystemExit) as error:  # a module that calls sys.exit() must not end the worker
        raise UnusableMessage(
            f"there is no task {path}: importing {module_name} raised {type(error).__name__}: {error}. Does this "
            "worker run the same code as the sender?"
        ) from error
    found = vars(module).get(name)
    if found is None:
        raise UnusableMessage(f"there is no task {path}: {module_name} has no {name!r}")
    if not isinstance(found, Task):
        raise UnusableMessage(f"there is no task {path}: it is of type {type(found).__name__}, and not a Task")
    if found.module_path != path:
        raise UnusableMessage(f"{path} is another name of the task {found.module_path}; use the task's own name")
    return found


def time_text(moment: datetime.datetime | None) -> str | None:
    """Return *moment* as ISO 8601, in UTC."""
    if moment is None:
        return None
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    return aware.astimezone(datetime.UTC).isoformat()


def read_time(text: str | None) -> datetime.datetime | None:
    """Return the time in *text*, which is ISO 8601. Raises `ValueError` for a bad text.

    If ``USE_TZ`` is false, the time is naive.
    """
    if text is None:
        return None
    moment = datetime.datetime.fromisoformat(text)
    if timezone.is_naive(moment):
        raise ValueError(f"the time {text!r} has no time zone")
    try:
        moment.astimezone(datetime.UTC)  # as databases store it
        return moment if settings.USE_TZ else timezone.make_naive(moment)
    except OverflowError:
        raise ValueError(f"the time {text!r} is out of range in UTC or in the TIME_ZONE of the settings") from None
