"""Stores the results of tasks in a database. A row is written when a task is sent, and changed when the task runs."""

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
from ...errors import ConfigurationError
from ...outbox.missing import is_missing_table
from ..outbox.models import TaskRecord
from ..outbox.tables import check_table, missing_table
from .message import REFUSAL, UnusableMessage, assign, count_raised, find_task, new_result, set_end

if typing.TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.tasks import TaskResult

__all__ = ["TaskResults"]

_log = get_logger("worker")

_FINISHED: typing.Final = (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)
_TIMES: typing.Final = ("enqueued_at", "started_at", "finished_at", "last_attempted_at")
#: The columns that the end of an attempt changes.
_AT_THE_END: typing.Final = ("status", "errors", "return_value", "finished_at")


class TaskResults:
    """The results of tasks, in the database with the alias *database*."""

    def __init__(self, database: str) -> None:
        self.database = database

    @property
    def _rows(self) -> QuerySet[TaskRecord]:
        return TaskRecord.objects.using(self.database)

    def check(self) -> None:
        """Raise `ConfigurationError` if the table is missing, or if ``AUTOCOMMIT`` is off in the database's settings.

        If the database cannot be reached, only log a warning.
        """
        self.check_settings()
        try:
            check_table(TaskRecord, self.database)
        except (DatabaseError, InterfaceError) as error:
            _log.warning("the database %r cannot be reached, and tasks wait: %s", self.database, error)

    def check_settings(self) -> None:
        """Raise `ConfigurationError` if ``AUTOCOMMIT`` is off in the settings of the database."""
        if connections[self.database].settings_dict.get("AUTOCOMMIT") is False:
            raise ConfigurationError(
                f"results cannot be stored in the database {self.database!r}, because its AUTOCOMMIT is False in "
                "settings.DATABASES; remove AUTOCOMMIT there, or set the option results to False",
                "results",
            )

    def rest(self) -> None:
        """Close the connection if it is broken or has autocommit off. Without autocommit, a write could be undone."""
        connection = connections[self.database]
        if connection.connection is None or connection.in_atomic_block:
            return
        if not connection.autocommit:
            connection.close()
            if connection.connection is not None:  # a database in memory is never closed
                connection.rollback()
                connection.set_autocommit(True)
        elif connection.errors_occurred:
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
        """Delete the row with the id *identity*. The caller must be certain that the task was not sent."""
        self._rows.filter(id=identity).delete()

    def begin(self, result: TaskResult[..., typing.Any], worker_id: str) -> bool:
        """Record that *worker_id* begins to run the task of *result*. Copy the data of earlier attempts to *result*.

        If the task has already finished, return false. A task that a worker has refused does not count as finished,
        because an administrator can send its dead letter back to the queue. If the row does not exist, insert the row.
        In this case, the sender may not have committed its transaction yet.
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
            if _has_finished(row, errors):
                return False
            result.worker_ids[:] = [*json.loads(row.worker_ids), worker_id]
            result.errors[:] = errors
            if row.started_at is not None:
                assign(result, started_at=row.started_at)
            if self._replace(row, _changing(result)):
                return True

    def finish(self, result: TaskResult[..., typing.Any], error: TaskError | None, max_errors: int) -> None:
        """Store the end of an attempt to run the task of *result*.

        If *error* is ``None``, store the value that the task returned. Otherwise, store *error*. Exception: if another
        worker has stored a success, the row does not change.

        After an error, the status becomes ``FAILED`` if the task has raised *max_errors* errors or more, or if the task
        has already finished in another worker. Otherwise, the status becomes ``READY`` for another attempt. *result*
        gets the status, and the errors and workers of all attempts.
        """
        known = list(result.errors)
        while True:
            row = self._rows.filter(id=result.id).first()
            has_finished = False
            if row is not None:
                known = _errors_of(row)
                has_finished = _has_finished(row, known)
                result.worker_ids[:] = json.loads(row.worker_ids)
            result.errors[:] = known if error is None else [*known, error]
            set_end(result, error, again=not has_finished and count_raised(result.errors) < max_errors)
            if row is None or row.status == TaskResultStatus.SUCCESSFUL:
                return
            values = _changing(result)
            if self._replace(row, {name: values[name] for name in _AT_THE_END}):
                return

    def refuse(self, identity: str, error: TaskError, moment: datetime.datetime) -> None:
        """Record that the task with the id *identity* cannot run: store *error* and the time *moment*."""
        while True:
            row = self._rows.filter(id=identity).exclude(status__in=_FINISHED).first()
            if row is None:
                return
            values = {
                "status": TaskResultStatus.FAILED,
                "finished_at": moment,
                "errors": _errors_text([*_errors_of(row), error]),
            }
            if self._replace(row, values):
                return

    def _replace(self, row: TaskRecord, values: dict[str, typing.Any]) -> bool:
        """Update *row* if the row has not changed since it was read. Return whether *row* was updated."""
        unchanged = self._rows.filter(id=row.id, status=row.status, worker_ids=row.worker_ids, errors=row.errors)
        return bool(unchanged.update(**values))

    def get(self, identity: str, backend: str) -> TaskResult[..., typing.Any]:
        """Return the result that has the id *identity* and belongs to the task backend *backend*.

        Raises `TaskResultDoesNotExist` for an unknown id, and `InvalidTask` if the task no longer exists.
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

    def purge(self, backend: str, days: float) -> int:
        """Delete the results of *backend* whose tasks ended more than *days* days ago. Return how many were deleted."""
        before = timezone.now() - datetime.timedelta(days=days)
        return self._rows.filter(backend=backend, finished_at__lt=before).delete()[0]


def _changing(result: TaskResult[..., typing.Any]) -> dict[str, typing.Any]:
    """Return the values of *result* for the columns that change while a task runs."""
    return {
        "status": result.status,
        "errors": _errors_text(result.errors),
        "worker_ids": json.dumps(result.worker_ids),
        "return_value": json.dumps(result._return_value),  # type: ignore[attr-defined]  # it is not public
        **{name: getattr(result, name) for name in _TIMES},
    }


def _has_finished(row: TaskRecord, errors: list[TaskError]) -> bool:
    """Return whether the task of *row* has finished. A refused task has not finished: its message may come again."""
    refused = bool(errors) and errors[-1].exception_class_path == REFUSAL
    return row.status == TaskResultStatus.SUCCESSFUL or (row.status == TaskResultStatus.FAILED and not refused)


def _errors_text(errors: typing.Iterable[TaskError]) -> str:
    return json.dumps([[error.exception_class_path, error.traceback] for error in errors])


def _errors_of(row: TaskRecord) -> list[TaskError]:
    return [TaskError(exception_class_path=path, traceback=text) for path, text in json.loads(row.errors)]
