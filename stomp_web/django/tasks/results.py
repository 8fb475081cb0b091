"""The results of tasks in the database. A row is written when a task is sent, and changed when it runs."""

from __future__ import annotations

import datetime
import json
import typing

from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction
from django.tasks import TaskResultStatus
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.utils import timezone

from ..._internal.log import get_logger
from ...outbox.missing import is_missing_table
from ..outbox.models import TaskRecord
from ..outbox.tables import check_table, missing_table
from .message import UnusableMessage, assign, find_task, new_result

if typing.TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.tasks import TaskResult

__all__ = ["TaskResults"]

_log = get_logger("worker")

_FINISHED: typing.Final = (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)
_REFUSAL: typing.Final = f"{UnusableMessage.__module__}.{UnusableMessage.__qualname__}"
_TIMES: typing.Final = ("enqueued_at", "started_at", "finished_at", "last_attempted_at")


class TaskResults:
    """The results in the database with the alias *database*."""

    def __init__(self, database: str) -> None:
        self.database = database

    @property
    def _rows(self) -> QuerySet[TaskRecord]:
        return TaskRecord.objects.using(self.database)

    def check(self) -> None:
        """Raise `ConfigurationError` if the table is missing. If the database is not available, only log that."""
        try:
            check_table(TaskRecord, self.database)
        except (DatabaseError, InterfaceError) as error:
            _log.warning("the database %r cannot be reached, and tasks wait: %s", self.database, error)

    def rest(self) -> None:
        """Close the connection if it is broken."""
        connection = connections[self.database]
        if connection.errors_occurred and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()

    def insert(self, result: TaskResult[..., typing.Any]) -> None:
        """Insert the row of a new result. Raises `ConfigurationError` if the table is missing."""
        task = result.task
        try:
            self._rows.create(
                id=result.id,
                backend=result.backend,
                task=task.module_path,
                queue=task.queue_name,
                priority=task.priority,
                run_after=task.run_after,
                args=json.dumps(result.args),
                kwargs=json.dumps(result.kwargs),
                **_changing(result),
            )
        except DatabaseError as error:
            if is_missing_table(error):
                raise missing_table(TaskRecord, self.database) from error
            raise

    def delete(self, identity: str) -> None:
        """Delete the row of a task that was not sent."""
        self._rows.filter(id=identity).delete()

    def begin(self, result: TaskResult[..., typing.Any], worker_id: str) -> bool:
        """Record that *worker_id* begins to run *result*, and complete it with what is known of earlier attempts.

        Return false if the task has finished before. A task that was refused has not: its dead letter was sent back.
        Without a row, insert one: the transaction of the sender may not have been committed yet.
        """
        while True:
            row = self._rows.filter(id=result.id).first()
            if row is None:
                result.worker_ids[:] = [worker_id]
                try:
                    with transaction.atomic(using=self.database):
                        self.insert(result)
                except IntegrityError:
                    if not self._rows.filter(id=result.id).exists():
                        raise
                    continue
                return True
            errors = _errors_of(row)
            refused = bool(errors) and errors[-1].exception_class_path == _REFUSAL
            if row.status == TaskResultStatus.SUCCESSFUL or (row.status == TaskResultStatus.FAILED and not refused):
                return False
            result.worker_ids[:] = [*json.loads(row.worker_ids), worker_id]
            result.errors[:] = errors
            if row.started_at is not None:
                assign(result, started_at=row.started_at)
            unchanged = self._rows.filter(id=result.id, status=row.status, worker_ids=row.worker_ids)
            if unchanged.update(**_changing(result)):
                return True

    def finish(self, result: TaskResult[..., typing.Any]) -> None:
        """Store what an attempt has changed, unless another worker has finished the same task successfully."""
        self._rows.filter(id=result.id).exclude(status=TaskResultStatus.SUCCESSFUL).update(**_changing(result))

    def refuse(self, identity: str, error: TaskError, moment: datetime.datetime) -> None:
        """Record that the task with the id *identity* cannot run."""
        row = self._rows.filter(id=identity).exclude(status__in=_FINISHED).first()
        if row is not None:
            errors = json.dumps([*json.loads(row.errors), [error.exception_class_path, error.traceback]])
            values = {"status": TaskResultStatus.FAILED, "finished_at": moment, "errors": errors}
            self._rows.filter(id=identity).exclude(status__in=_FINISHED).update(**values)

    def get(self, identity: str, backend: str) -> TaskResult[..., typing.Any]:
        """Return the result with the id *identity* of the task backend *backend*.

        Raises `TaskResultDoesNotExist`, and `InvalidTask` if the task of the result is no longer there.
        """
        row = self._rows.filter(id=identity, backend=backend).first()
        if row is None:
            raise TaskResultDoesNotExist(identity)
        try:
            task = find_task(row.task)
        except UnusableMessage as error:
            raise InvalidTask(f"the result {identity} is of a task that is no longer there: {error}") from error
        task = task.using(backend=backend, queue_name=row.queue, priority=row.priority, run_after=row.run_after)
        result = new_result(task, row.id, json.loads(row.args), json.loads(row.kwargs), backend, row.enqueued_at)
        assign(
            result,
            status=TaskResultStatus(row.status),
            errors=_errors_of(row),
            worker_ids=json.loads(row.worker_ids),
            _return_value=json.loads(row.return_value),
            **{name: getattr(row, name) for name in _TIMES},
        )
        return result

    def purge(self, days: float) -> int:
        """Remove the results that have finished more than *days* ago, and return how many."""
        before = timezone.now() - datetime.timedelta(days=days)
        return self._rows.filter(finished_at__lt=before).delete()[0]


def _changing(result: TaskResult[..., typing.Any]) -> dict[str, typing.Any]:
    """Return the columns that change while a task runs."""
    return {
        "status": result.status,
        "errors": json.dumps([[error.exception_class_path, error.traceback] for error in result.errors]),
        "worker_ids": json.dumps(result.worker_ids),
        "return_value": json.dumps(result._return_value),  # type: ignore[attr-defined]  # it is not public
        **{name: getattr(result, name) for name in _TIMES},
    }


def _errors_of(row: TaskRecord) -> list[TaskError]:
    return [TaskError(exception_class_path=path, traceback=text) for path, text in json.loads(row.errors)]
