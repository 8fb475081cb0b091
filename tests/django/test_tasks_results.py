"""Results of tasks in the database: what is stored when, and what happens if it cannot be stored."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.db import OperationalError, connection, transaction
from django.tasks import TaskResultStatus, default_task_backend, task_backends
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
from django.test import TestCase, modify_settings, override_settings
from django.utils import timezone

from stomp_web import BrokerUnavailable, ConfigurationError, DeliveryUnknown, SerializationError
from stomp_web.django import publisher
from stomp_web.django.handlers import handlers_of
from stomp_web.django.outbox.models import OutboxMessage, TaskRecord
from stomp_web.django.tasks.running import TaskHandler
from stomp_web.worker import Reject
from stomp_web.worker.once import InboxUnavailable
from tests.django.shop import tasks
from tests.django.task_backends import backend, execute, of_payload, received, signals, using
from tests.django.test_on_commit import undone
from tests.django.test_outbox import without_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker


@pytest.fixture(autouse=True)
def default_backend() -> Iterator[None]:
    with using("default", "emails"):
        yield
    OutboxMessage.objects.all().delete()
    TaskRecord.objects.all().delete()


class TestGetResult:
    def test_before_the_task_has_run(self):
        sent = tasks.add.using(priority=3, queue_name="emails").enqueue(1, b=[2, {"a": None}])
        found = sent.task.get_result(sent.id)

        assert default_task_backend.supports_get_result is True
        assert found == sent
        assert dataclasses.asdict(default_task_backend.get_result(sent.id)) == dataclasses.asdict(sent)
        assert found.status is TaskResultStatus.READY

    def test_after_it_has_run(self):
        sent = tasks.add.enqueue(1, b=2)
        execute()
        assert (sent.status, tasks.add.get_result(sent.id).return_value) == (TaskResultStatus.READY, 3)
        sent.refresh()
        assert (sent.status, sent.return_value, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
        assert sent.enqueued_at <= sent.started_at == sent.last_attempted_at <= sent.finished_at

    def test_after_it_has_failed(self):
        sent = tasks.fail_oddly.enqueue()
        with signals() as seen:
            execute()
        sent.refresh()
        assert (sent.status, sent.attempts) == (TaskResultStatus.FAILED, 1)
        assert sent.errors == seen[-1][3].errors
        assert sent.errors[0].exception_class is ValueError
        assert sent.errors[0].traceback.endswith("ValueError: no tea \0 \ud800 \N{GREEK SMALL LETTER ALPHA}\n")

    def test_while_it_runs(self):
        sent = tasks.describe.enqueue(7)
        with signals() as seen:
            seen_while: list[Any] = []
            from django.tasks.signals import task_started

            def look(**_: object) -> None:
                seen_while.append(tasks.describe.get_result(sent.id))

            task_started.connect(look)
            try:
                execute()
            finally:
                task_started.disconnect(look)
        (running,) = seen_while
        assert (running.status, running.attempts, running.finished_at) == (TaskResultStatus.RUNNING, 1, None)
        assert seen[-1][1] == "SUCCESSFUL"

    def test_of_a_task_that_was_not_sent(self):
        for identity in ("123", 123):
            with pytest.raises(TaskResultDoesNotExist):
                tasks.add.get_result(identity)

    def test_of_another_task(self):
        sent = tasks.add.enqueue(1)
        with pytest.raises(TaskResultMismatch):
            tasks.fail.get_result(sent.id)

    def test_of_another_backend(self):
        with override_settings(TASKS={"default": backend("default"), "other": backend("other")}):
            sent = tasks.add.enqueue(1)
            with pytest.raises(TaskResultDoesNotExist):
                task_backends["other"].get_result(sent.id)

    def test_of_a_task_that_is_no_longer_there(self):
        sent = tasks.add.enqueue(1)
        TaskRecord.objects.update(task="tests.django.shop.tasks.gone")
        with pytest.raises(InvalidTask, match=f"the result {sent.id} is of a task that is no longer there"):
            default_task_backend.get_result(sent.id)

    @pytest.mark.parametrize("without", ["option", "app"])
    def test_where_results_are_not_stored(self, without):
        options = {"results": False} if without == "option" else {}
        with (
            modify_settings(INSTALLED_APPS={"remove": "stomp_web.django.outbox"}) if not options else using(),
            using(**options),
        ):
            assert default_task_backend.supports_get_result is False
            sent = tasks.add.enqueue(1)
            execute()
            for call in (lambda: default_task_backend.get_result(sent.id), sent.refresh):
                with pytest.raises(NotImplementedError, match="does not support retrieving"):
                    call()
            with pytest.raises(NotImplementedError, match="does not support retrieving"):
                asyncio.run(sent.arefresh())
        assert not TaskRecord.objects.exists()

    def test_time_zones_may_be_off(self):
        with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"), using(scheduler=True):
            sent = tasks.add.using(run_after=timezone.now() - timedelta(hours=1)).enqueue(1)
            execute()
            found = tasks.add.get_result(sent.id)
        assert (found.task, found.enqueued_at) == (sent.task, sent.enqueued_at)
        assert found.enqueued_at <= found.finished_at


class TestRows:
    def test_a_task_that_cannot_be_sent_leaves_none(self):
        with pytest.raises(SerializationError):
            tasks.add.enqueue(float("nan"))
        with using(stomp={"OPTIONS": {"url": "stomp://127.0.0.1:1", "timeout": 1}}), pytest.raises(BrokerUnavailable):
            tasks.add.enqueue(1)
        assert not TaskRecord.objects.exists()

    def test_a_task_that_may_run_has_one(self, local_broker: Broker):
        local_broker.faults.close_before_receipt("SEND")
        with using(stomp={"OPTIONS": {"url": local_broker.url}}), pytest.raises(DeliveryUnknown):
            tasks.add.enqueue(1)
        assert TaskRecord.objects.get().status == "READY"

    def test_with_the_outbox_it_is_committed_with_the_message(self):
        with using(outbox=True):
            with undone():
                tasks.add.enqueue(1)
            assert not TaskRecord.objects.exists()
            with transaction.atomic():
                sent = tasks.add.enqueue(2)
            assert default_task_backend.get_result(sent.id).args == [2]
        assert OutboxMessage.objects.get().message_id == sent.id

    def test_a_worker_that_is_faster_than_the_commit_makes_one(self):
        sent = tasks.add.enqueue(1, b=2)
        TaskRecord.objects.all().delete()  # so it looks from another connection before the commit
        execute()
        sent.refresh()
        assert (sent.return_value, sent.attempts) == (3, 1)

    def test_without_its_table_nothing_is_sent(self):
        with without_table("stomp_web_task"):
            with pytest.raises(ConfigurationError, match=r"no stomp_web_task in the database 'default': run `manage"):
                tasks.add.enqueue(1)
            with pytest.raises(ConfigurationError, match=r"no stomp_web_task in the database 'default': run `manage"):
                handlers_of("default")  # so the worker does not start
        assert publisher.outbox == []

    def test_a_worker_removes_old_ones_at_its_first_task_and_then_once_an_hour(self):
        def finished(days: float) -> None:
            TaskRecord.objects.create(
                id=str(days),
                backend="default",
                priority=0,
                status="SUCCESSFUL",
                finished_at=timezone.now() - timedelta(days=days),
            )

        def left() -> set[str]:
            return set(TaskRecord.objects.filter(id__in=("1.9", "2.1", "30", "ready")).values_list("id", flat=True))

        TaskRecord.objects.create(id="ready", priority=0, enqueued_at=timezone.now() - timedelta(days=30))
        for days in (1.9, 2.1, 30):
            finished(days)
        handler = TaskHandler("default")
        with using(keep=2):
            tasks.add.enqueue(1)
            handler(received(publisher.outbox[-1]))
            assert left() == {"1.9", "ready"}
            finished(2.1)
            tasks.add.enqueue(1)
            handler(received(publisher.outbox[-1]))
            assert left() == {"1.9", "2.1", "ready"}


class TestFromAsyncCode(TestCase):
    async def test_results_are_found_and_refreshed(self):
        sent = await tasks.add.aenqueue(1, b=2)
        assert await tasks.add.aget_result(sent.id) == sent
        await TaskRecord.objects.aupdate(status="SUCCESSFUL", return_value="3")
        await sent.arefresh()
        assert (sent.status, sent.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
        with pytest.raises(TaskResultDoesNotExist):
            await tasks.add.aget_result("123")
        with pytest.raises(TaskResultMismatch):
            await tasks.fail.aget_result(sent.id)


class TestAttempts:
    def test_each_is_counted_also_one_that_was_killed(self):
        sent = tasks.describe.enqueue(7)
        TaskRecord.objects.update(status="RUNNING", worker_ids=json.dumps(["machine-1"]), started_at=sent.enqueued_at)
        execute(redelivered=True)
        sent.refresh()
        assert (sent.attempts, sent.worker_ids[0], sent.return_value["attempt"]) == (2, "machine-1", 2)
        assert sent.started_at == sent.enqueued_at < sent.last_attempted_at

    @pytest.mark.parametrize("function", [tasks.add, tasks.fail])
    def test_a_task_that_has_finished_does_not_run_again(self, function, caplog):
        sent = function.enqueue(1)
        execute()
        first = function.get_result(sent.id)
        with signals() as seen, caplog.at_level(logging.INFO, "stomp_web.worker"):
            execute(redelivered=True)
        assert seen == []
        assert f"task {sent.id} has finished before, and does not run again" in caplog.text
        assert dataclasses.asdict(function.get_result(sent.id)) == dataclasses.asdict(first)

    def test_errors_of_all_attempts_are_kept(self):
        with using(max_attempts=3):
            sent = tasks.fail_until.enqueue(3)
            for attempt in (1, 2):
                with pytest.raises(LookupError, match=f"attempt {attempt}"):
                    execute()
                sent.refresh()
                assert (sent.status, len(sent.errors), sent.finished_at) == (TaskResultStatus.READY, attempt, None)
            execute()
        sent.refresh()
        assert (sent.status, sent.return_value, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 3)
        assert ["attempt 1" in sent.errors[0].traceback, "attempt 2" in sent.errors[1].traceback] == [True, True]

    def test_only_those_that_raised_count_for_the_most(self):
        with using(max_attempts=2):
            sent = tasks.fail.enqueue("no tea")
            TaskRecord.objects.update(status="RUNNING", worker_ids=json.dumps(["killed", "killed"]))
            with pytest.raises(ValueError, match="no tea"):
                execute(redelivered=True)
            execute(redelivered=True)
        sent.refresh()
        assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.FAILED, 4, 2)

    def test_a_failure_does_not_replace_a_success_of_another_worker(self):
        sent = tasks.fail.enqueue("no tea")
        handler = TaskHandler("default")
        from django.tasks.signals import task_started

        def finish_elsewhere(**_: object) -> None:
            TaskRecord.objects.update(status="SUCCESSFUL", return_value="7", finished_at=timezone.now())

        task_started.connect(finish_elsewhere)
        try:
            handler(received(publisher.outbox[-1]))
        finally:
            task_started.disconnect(finish_elsewhere)
        sent.refresh()
        assert (sent.status, sent.return_value) == (TaskResultStatus.SUCCESSFUL, 7)

    def test_a_copy_with_another_message_id_is_known_as_a_copy(self):
        sent = tasks.add.enqueue(1)
        execute()
        with signals() as seen:
            TaskHandler("default")(of_payload(publisher.outbox[0].payload, "another"))
        assert seen == []
        assert [row.id for row in TaskRecord.objects.all()] == [sent.id]


class TestRefused:
    def test_a_task_that_cannot_run_has_failed_and_says_why(self):
        sent = tasks.add.enqueue(1)
        payload = {**publisher.outbox[0].payload, "task": "tests.django.shop.tasks.gone"}
        with pytest.raises(Reject):
            TaskHandler("default")(of_payload(payload, sent.id))
        sent.refresh()
        assert (sent.status, sent.attempts) == (TaskResultStatus.FAILED, 0)
        assert "tests.django.shop.tasks has no 'gone'" in sent.errors[0].traceback
        assert sent.errors[0].exception_class.__name__ == "UnusableMessage"

    def test_it_runs_when_its_dead_letter_is_sent_back(self):
        sent = tasks.add.enqueue(1, b=2)
        payload = publisher.outbox[0].payload
        for _ in range(2):
            with pytest.raises(Reject):
                TaskHandler("default")(of_payload({**payload, "task": "tests.django.shop.tasks.gone"}, sent.id))
        sent.refresh()
        assert (sent.status, len(sent.errors)) == (TaskResultStatus.FAILED, 1)
        execute()
        sent.refresh()
        assert (sent.status, sent.return_value, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
        with signals() as seen:
            execute()
        assert seen == []

    def test_it_does_not_count_as_an_attempt(self):
        with using(max_attempts=2):
            sent = tasks.fail.enqueue("no tea")
            payload = publisher.outbox[0].payload
            with pytest.raises(Reject):
                TaskHandler("default")(of_payload({**payload, "task": "tests.django.shop.tasks.gone"}, sent.id))
            with pytest.raises(ValueError, match="no tea"):
                execute()
            sent.refresh()
            assert (sent.status, len(sent.errors)) == (TaskResultStatus.READY, 2)
            execute(redelivered=True)
        sent.refresh()
        assert (sent.status, sent.attempts, len(sent.errors)) == (TaskResultStatus.FAILED, 2, 3)

    @pytest.mark.parametrize("payload", [[1], {"task": "x.y"}, {"id": 7}, {"id": ""}, {"id": "i" * 65}])
    def test_a_header_marks_no_row(self, payload):
        sent = tasks.add.enqueue(1)
        with pytest.raises(Reject):
            TaskHandler("default")(of_payload(payload, sent.id))
        sent.refresh()
        assert (sent.status, sent.errors) == (TaskResultStatus.READY, [])

    def test_the_id_in_the_body_marks_the_row(self):
        sent = tasks.add.enqueue(1)
        with pytest.raises(Reject):
            TaskHandler("default")(of_payload({"id": sent.id}, "another"))
        sent.refresh()
        assert (sent.status, len(sent.errors)) == (TaskResultStatus.FAILED, 1)

    def test_a_refusal_keeps_the_errors_of_a_failure_at_the_same_time(self):
        sent = tasks.add.enqueue(1)

        def fail_meanwhile(execute: Any, sql: str, *arguments: Any) -> Any:
            if sql.startswith("UPDATE") and not done:
                done.append(1)
                TaskRecord.objects.update(errors='[["a.Other", "text"]]')
            return execute(sql, *arguments)

        done: list[int] = []
        with connection.execute_wrapper(fail_meanwhile), pytest.raises(Reject):
            TaskHandler("default")(of_payload({"id": sent.id}, sent.id))
        sent.refresh()
        assert [error.exception_class_path.rpartition(".")[2] for error in sent.errors] == ["Other", "UnusableMessage"]

    def test_a_message_of_something_else_makes_no_row(self):
        with pytest.raises(Reject):
            TaskHandler("default")(of_payload([1], "other"))
        assert not TaskRecord.objects.exists()


class TestDatabaseFaults:
    def test_if_the_beginning_cannot_be_stored_the_task_does_not_run_and_the_message_waits(self):
        tasks.announce.enqueue("x")
        with (
            connection.execute_wrapper(broken_from(0)),
            pytest.raises(
                InboxUnavailable, match=r"the result of task \w{32} cannot be stored in the database 'default'"
            ),
        ):
            execute()
        assert len(publisher.outbox) == 1
        execute()
        assert len(publisher.outbox) == 2

    def test_if_the_end_cannot_be_stored_the_message_waits_and_the_task_runs_again(self):
        sent = tasks.add.enqueue(1)
        with (
            signals() as seen,
            connection.execute_wrapper(broken_from(1, "UPDATE")),
            pytest.raises(InboxUnavailable, match="the disk is full"),
        ):
            execute()
        assert [entry[0] for entry in seen] == ["started"]
        execute(redelivered=True)
        sent.refresh()
        assert (sent.status, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 2)

    def test_old_rows_that_cannot_be_removed_stop_nothing(self, caplog):
        sent = tasks.add.enqueue(1)
        with connection.execute_wrapper(broken_from(0, "DELETE")):
            execute()
        sent.refresh()
        assert sent.return_value == 1
        assert "old results of tasks could not be removed: the disk is full" in caplog.text


def broken_from(first: int, statements: str = "") -> Any:
    """A wrapper for which all statements of a kind but the *first* ones fail."""
    left = [first]

    def wrapper(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith(statements):
            if not left[0]:
                raise OperationalError("the disk is full")
            left[0] -= 1
        return execute(sql, *arguments)

    return wrapper
