"""Attempts to run a task: several workers at a time, what is final, and what the database refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.db import connection
from django.tasks import TaskResultStatus
from django.tasks.signals import task_started

from stomp_web.django.outbox.models import OutboxMessage, TaskRecord
from tests.django.shop import tasks
from tests.django.task_backends import execute, finished, signals, using

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
