"""Attempts to run a task: several workers at a time, what is final, and what the database refuses."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.db import DataError, InterfaceError, OperationalError, connection, connections, transaction
from django.tasks import TaskResultStatus, task_backends
from django.tasks.signals import task_started
from django.test import override_settings
from django.utils import timezone

from stomp_web import ConfigurationError
from stomp_web.django import publisher
from stomp_web.django.outbox.models import OutboxMessage, TaskRecord
from stomp_web.django.tasks.results import TaskResults
from stomp_web.django.tasks.running import TaskHandler
from stomp_web.worker.once import InboxUnavailable
from tests.django.shop import tasks
from tests.django.task_backends import backend, execute, finished, received, signals, using

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def default_backend() -> Iterator[None]:
    with using("default", "emails"):
        yield
    OutboxMessage.objects.all().delete()
    TaskRecord.objects.all().delete()


class Meanwhile:
    """Calls a function once, when the first of the following tasks has begun."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function

    def _call(self, **_: object) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()

    def __enter__(self) -> None:
        task_started.connect(self._call)

    def __exit__(self, *_: object) -> None:
        task_started.disconnect(self._call)
        assert self._function is None, "no task has begun"


def try_to_run() -> str:
    """Run the last task as another worker does, and return what was raised."""
    try:
        execute(redelivered=True)
    except (ValueError, LookupError) as error:
        return repr(error)
    return ""


class TestTwoWorkers:
    def test_a_final_failure_stays(self):
        raised: list[str] = []
        with using(max_attempts=2), signals() as seen:
            sent = tasks.fail.enqueue("no tea")
            with Meanwhile(lambda: raised.extend([try_to_run(), try_to_run()])):
                execute()
        sent.refresh()
        assert raised == ["ValueError('no tea')", ""]
        assert (sent.status, len(sent.errors), sent.attempts) == (TaskResultStatus.FAILED, 3, 3)
        assert sent.finished_at is not None
        assert [(result.status, len(result.errors)) for result in finished(seen)] == [("FAILED", 2), ("FAILED", 3)]

    def test_the_errors_and_workers_of_both_are_kept(self):
        with using(max_attempts=3):
            sent = tasks.fail_until.enqueue(3)
            with Meanwhile(try_to_run), pytest.raises(LookupError, match="attempt 1"):
                execute()
            sent.refresh()
            assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.READY, 2, 2)
            assert ["attempt 2" in sent.errors[0].traceback, "attempt 1" in sent.errors[1].traceback] == [True, True]
            execute()
        sent.refresh()
        assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.SUCCESSFUL, 3, 2)

    def test_the_errors_of_both_count_for_the_most(self):
        with using(max_attempts=2), signals() as seen:
            sent = tasks.fail.enqueue("no tea")
            with Meanwhile(try_to_run):
                execute()  # does not raise: it was the second failure
        sent.refresh()
        assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.FAILED, 2, 2)
        assert [result.status for result in finished(seen)] == [TaskResultStatus.FAILED]

    def test_a_success_of_one_stays_and_the_failure_of_the_other_is_not_tried_again(self):
        with using(max_attempts=3), signals() as seen:
            sent = tasks.fail_until.enqueue(2)
            with Meanwhile(try_to_run):
                execute()
        sent.refresh()
        assert (sent.status, sent.return_value, sent.errors) == (TaskResultStatus.SUCCESSFUL, 2, [])
        assert [result.status for result in finished(seen)] == ["SUCCESSFUL", "FAILED"]

    def test_a_success_replaces_a_failure_and_keeps_its_error(self):
        sent = tasks.fail_from.enqueue(2)
        with Meanwhile(try_to_run):
            execute()
        sent.refresh()
        assert (sent.status, sent.return_value, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 1, 2)
        assert "attempt 2" in sent.errors[0].traceback

    def test_a_change_between_reading_and_writing_is_seen(self):
        with using(max_attempts=3):
            sent = tasks.fail.enqueue("no tea")
            with before_the_second_update(), pytest.raises(ValueError, match="no tea"):
                execute()
        sent.refresh()
        assert [error.exception_class_path for error in sent.errors] == ["a.Other", "builtins.ValueError"]


def before_the_second_update() -> Any:
    """A wrapper by which another worker stores an error just before the second UPDATE, which is the end of a task."""
    updates = [0]

    def wrapper(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("UPDATE"):
            updates[0] += 1
            if updates[0] == 2:
                TaskRecord.objects.update(errors='[["a.Other", "text"]]')
        return execute(sql, *arguments)

    return connection.execute_wrapper(wrapper)


class TestWhatATaskRaises:
    def test_a_reject_is_final(self):
        with using(max_attempts=3), signals() as seen:
            sent = tasks.reject.enqueue("never")
            execute()
        sent.refresh()
        assert (sent.status, sent.attempts) == (TaskResultStatus.FAILED, 1)
        assert "Reject: never" in sent.errors[0].traceback
        assert [result.id for result in finished(seen)] == [sent.id]

    def test_a_reject_is_final_without_results(self):
        with using(max_attempts=3, results=False), signals() as seen:
            tasks.reject.enqueue("never")
            execute()
        assert [result.status for result in finished(seen)] == [TaskResultStatus.FAILED]

    @pytest.mark.parametrize("results", [True, False])
    def test_an_unavailable_inbox_of_its_own_counts_as_a_failure(self, results):
        with using(max_attempts=2, results=results), signals() as seen:
            tasks.miss_an_inbox.enqueue()
            with pytest.raises(
                RuntimeError, match=r"miss_an_inbox has raised InboxUnavailable\('not mine'\)"
            ) as caught:
                execute()
            assert isinstance(caught.value.__cause__, InboxUnavailable)
            execute(redelivered=True, failures=1)
        (end,) = finished(seen)
        assert (end.status, end.errors[-1].exception_class) == (TaskResultStatus.FAILED, InboxUnavailable)


@contextlib.contextmanager
def values_limited_to(length: int) -> Iterator[None]:
    """Let the database refuse longer texts."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has such a limit")
    connection.ensure_connection()
    before = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, length)
    try:
        yield
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


class TestWhatTheDatabaseRefuses:
    def test_a_value_that_is_too_large_is_a_failure(self, caplog):
        with signals() as seen, values_limited_to(20_000):
            sent = tasks.repeat.enqueue("x", 30_000)
            execute()
        sent.refresh()
        (end,) = finished(seen)
        assert (sent.status, sent.attempts, end.status) == (TaskResultStatus.FAILED, 1, TaskResultStatus.FAILED)
        (error,) = sent.errors
        assert issubclass(error.exception_class, DataError)
        assert error.traceback.startswith("The task has run, and the database has refused its value or its traceback: ")
        assert "too big" in error.traceback
        assert TaskRecord.objects.get().return_value == "null"
        assert f"the end of task {sent.id} could not be stored; its error was stored instead" in caplog.text

    def test_it_is_not_tried_again(self):
        with using(max_attempts=3), values_limited_to(20_000):
            sent = tasks.repeat.enqueue("x", 30_000)
            execute()
        sent.refresh()
        assert (sent.status, len(sent.errors)) == (TaskResultStatus.FAILED, 1)

    def test_a_traceback_that_is_too_large_counts_as_a_failure(self):
        with using(max_attempts=2), values_limited_to(20_000):
            sent = tasks.fail_at_length.enqueue(30_000)
            with pytest.raises(ValueError, match="xxx"):
                execute()
            sent.refresh()
            assert sent.status == TaskResultStatus.READY
            execute(redelivered=True, failures=1)
        sent.refresh()
        assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.FAILED, 2, 2)

    def test_one_fault_of_the_database_loses_no_value(self):
        sent = tasks.add.enqueue(1, b=2)
        with connection.execute_wrapper(Faulty("UPDATE", OperationalError, after=1, times=1)):
            execute()
        sent.refresh()
        assert (sent.status, sent.return_value, sent.errors) == (TaskResultStatus.SUCCESSFUL, 3, [])


class Faulty:
    """A wrapper for which some statements that begin with *start* fail with *error*: *times* ones, *after* some."""

    def __init__(self, start: str, error: type[Exception], *, after: int = 0, times: int = 1) -> None:
        self._start, self._error, self._after, self._last = start, error, after, after + times
        self.seen = 0

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith(self._start):
            self.seen += 1
            if self._after < self.seen <= self._last:
                raise self._error("the disk is full")
        return execute(sql, *arguments)


class TestOldResults:
    def test_each_backend_removes_its_own_only(self):
        old = timezone.now() - timedelta(days=30)
        for name in ("short", "long"):
            TaskRecord.objects.create(id=name, backend=name, priority=0, status="SUCCESSFUL", finished_at=old)
        both = {"default": backend(), "short": backend("s", keep=1), "long": backend("l", keep=365)}
        with override_settings(TASKS=both):
            for name in ("short", "long"):
                tasks.add.using(backend=name, queue_name=name[0]).enqueue(1)
                TaskHandler(name)(received(publisher.outbox[-1]))
        assert set(TaskRecord.objects.filter(id__in=["short", "long"]).values_list("id", flat=True)) == {"long"}

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    def test_a_fault_is_logged_after_the_task_has_run(self, error, caplog):
        sent = tasks.add.enqueue(1)
        faulty = Faulty("DELETE", error)
        with connection.execute_wrapper(faulty), signals() as seen:
            execute()
        sent.refresh()
        assert (sent.status, faulty.seen, len(finished(seen))) == (TaskResultStatus.SUCCESSFUL, 1, 1)
        assert "old results of tasks could not be removed: the disk is full" in caplog.text

    def test_they_are_removed_after_the_result_is_stored(self):
        tasks.add.enqueue(1)
        statuses: list[str] = []

        def note(execute: Any, sql: str, *arguments: Any) -> Any:
            if sql.startswith("DELETE"):
                statuses.extend(TaskRecord.objects.values_list("status", flat=True))
            return execute(sql, *arguments)

        with connection.execute_wrapper(note):
            execute()
        assert statuses == ["SUCCESSFUL"]


@contextlib.contextmanager
def another_database(path: str, **options: Any) -> Iterator[str]:
    """Store results in a file of SQLite. It is empty if Django does not commit in it."""
    name = "file"
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, **options}
    connections.settings[name] = connections.configure_settings({"default": {}, name: entry})[name]
    try:
        if not options:
            with connections[name].schema_editor() as editor:
                editor.create_model(TaskRecord)
        with using(stomp={"OPTIONS": {"url": "memory://"}, "OUTBOX": {"database": name}}):
            yield name
    finally:
        connections[name].close()
        del connections[name], connections.settings[name]


class TestAConnectionWithoutAutocommit:
    def test_the_result_is_committed(self, tmp_path):
        with another_database(str(tmp_path / "file.sqlite3")) as database:
            sent = tasks.leave_autocommit_off.enqueue()
            execute()
            sent.refresh()
            assert sent.status == TaskResultStatus.SUCCESSFUL
            connections[database].close()  # this would undo what was not committed
            sent.refresh()
            assert (sent.status, sent.return_value) == (TaskResultStatus.SUCCESSFUL, 5)

    def test_the_result_is_committed_also_in_memory(self):
        sent = tasks.leave_autocommit_off.enqueue()
        execute()
        assert transaction.get_autocommit() is True
        sent.refresh()
        assert sent.return_value == 5

    def test_a_database_with_autocommit_off_is_refused(self, tmp_path):
        with another_database(str(tmp_path / "file.sqlite3"), AUTOCOMMIT=False) as database:
            with pytest.raises(ConfigurationError, match=f"database '{database}', because its AUTOCOMMIT is False"):
                TaskResults(database).check()
            (message,) = task_backends["default"].check()
        assert message.id == "stomp_web.E006"
        assert "its AUTOCOMMIT is False in settings.DATABASES; remove AUTOCOMMIT there" in message.msg
