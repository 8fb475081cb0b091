"""Tasks run: the contract of Django's backends, what is called and what is not, failures, and another try."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import pickle
import sys
import threading
import types
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.core.management import CommandError, call_command
from django.tasks import TaskResultStatus
from django.test import override_settings
from django.utils import timezone

from stomp_web import ConfigurationError, Publisher
from stomp_web.django import publisher, publishers
from stomp_web.django.handlers import handlers_by_alias, handlers_of, make_worker
from stomp_web.django.tasks import StompTaskBackend
from stomp_web.django.tasks.message import UnusableMessage, find_task
from stomp_web.django.tasks.running import TaskHandler
from stomp_web.worker import Handlers, Reject
from tests.client.scripted import eventually
from tests.django.shop import tasks
from tests.django.task_backends import backend, execute, finished, of_payload, received, signals, tasks_alone, using
from tests.worker.running import PATIENCE, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.tasks import TaskResult

    from stomp_web.broker import Broker

PATH = "tests.django.shop.tasks"


@pytest.fixture(autouse=True)
def default_backend() -> Iterator[None]:
    with using("default", "emails", results=False):
        yield


def run(result: TaskResult, **how: Any) -> TaskResult:
    """Run the task that was just enqueued, and return the result as the receivers of `task_finished` get it."""
    with signals() as seen:
        execute(**how)
    (end,) = finished(seen)
    assert end.id == result.id
    return end


class TestSuccess:
    @pytest.mark.parametrize("function", [tasks.add, tasks.add_later], ids=["plain", "async"])
    def test_the_result_has_what_the_function_returned(self, function):
        sent = function.using(priority=7, queue_name="emails").enqueue(1, b=2)
        result = run(sent)

        assert (result.status, result.is_finished, result.return_value) == (TaskResultStatus.SUCCESSFUL, True, 3)
        assert (result.task, result.args, result.kwargs) == (sent.task, [1], {"b": 2})
        assert (result.attempts, result.errors, result.backend) == (1, [], "default")
        assert result.enqueued_at == sent.enqueued_at
        assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at

    def test_the_returned_value_becomes_json(self):
        assert run(tasks.return_pair.enqueue()).return_value == [1, {"key": "text"}]

    def test_the_context(self):
        sent = tasks.describe.enqueue(7)
        assert run(sent).return_value == {"id": sent.id, "attempt": 1, "status": "RUNNING", "number": 7}

    def test_from_async_code(self):
        assert run(asyncio.run(tasks.add.aenqueue(1, b=2))).return_value == 3

    def test_the_signals_come_in_order_with_the_class_of_the_backend(self):
        with signals() as seen:
            tasks.add.enqueue(1)
            execute()
        assert [entry[:3] for entry in seen] == [
            ("enqueued", "READY", StompTaskBackend),
            ("started", "RUNNING", StompTaskBackend),
            ("finished", "SUCCESSFUL", StompTaskBackend),
        ]

    def test_django_logs_it(self, caplog):
        with caplog.at_level(logging.DEBUG, "django.tasks"):
            result = tasks.add.enqueue(1)
            execute()
        lines = [message for message in caplog.messages if f"id={result.id} path={PATH}.add " in message]
        assert [line.rpartition(" ")[2] for line in lines] == ["backend=default", "state=RUNNING", "state=SUCCESSFUL"]
        assert "NoneType" not in caplog.text

    def test_time_zones_may_be_off(self):
        with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
            sent = tasks.add.enqueue(1)
            result = run(sent)
        assert result.enqueued_at == sent.enqueued_at
        assert result.enqueued_at.tzinfo is None
        assert result.enqueued_at <= result.started_at


class TestFailure:
    @pytest.mark.parametrize(
        ("function", "args", "kind", "end"),
        [
            (tasks.fail, ["no tea"], ValueError, "ValueError: no tea\n"),
            (tasks.leave, ["good-bye"], SystemExit, "SystemExit: good-bye\n"),
            (tasks.fail_with_a_cause, [], ValueError, "ValueError: the inner one\n"),
            (tasks.add, ["a", 1], TypeError, None),
            (tasks.add, [], TypeError, "missing 1 required positional argument: 'a'\n"),
        ],
    )
    def test_the_error_is_in_the_result_and_the_message_is_done(self, function, args, kind, end):
        result = run(function.enqueue(*args))

        assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.FAILED, True, 1)
        (error,) = result.errors
        assert error.exception_class is kind
        assert error.traceback.startswith("Traceback (most recent call last):\n")
        assert end is None or error.traceback.endswith(end)
        assert result.started_at <= result.finished_at
        with pytest.raises(ValueError, match="Task failed"):
            result.return_value  # noqa: B018

    @pytest.mark.parametrize(
        ("function", "kind", "says"),
        [
            (tasks.return_a_date, TypeError, "Unsupported type: <class 'datetime.datetime'>"),
            (tasks.return_nan, ValueError, "not JSON compliant"),
        ],
    )
    def test_a_value_that_is_not_json_is_a_failure_that_says_so(self, function, kind, says):
        (error,) = run(function.enqueue()).errors
        assert error.exception_class is kind
        assert says in error.traceback
        assert f"The task {function.module_path} has run, and returned a value that is not JSON" in error.traceback

    def test_django_logs_it_with_the_traceback(self, caplog):
        tasks.fail.enqueue("no tea")
        with caplog.at_level(logging.ERROR, "django.tasks"):
            execute()
        (record,) = caplog.records
        assert "state=FAILED" in record.getMessage()
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "no tea"

    def test_ctrl_c_is_passed_on(self, monkeypatch):
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        tasks.add.enqueue(1)
        monkeypatch.setattr("django.tasks.base.Task.call", interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute()

    def test_a_receiver_that_raises_changes_nothing(self, caplog):
        from django.tasks.signals import task_finished, task_started

        def broken(**_: object) -> None:
            raise LookupError("a bug")

        for signal in (task_started, task_finished):
            signal.connect(broken)
        try:
            assert run(tasks.add.enqueue(1)).return_value == 1
        finally:
            for signal in (task_started, task_finished):
                signal.disconnect(broken)
        assert caplog.text.count("a bug") >= 2


class TestAnotherTry:
    def test_there_is_none_unless_asked_for(self):
        tasks.fail.enqueue("no tea")
        execute()  # does not raise, so that the message is acknowledged

    def test_the_task_is_tried_again_as_often_as_the_settings_say(self):
        with using(max_attempts=3, results=False), signals() as seen:
            tasks.fail.enqueue("no tea")
            for failures in range(2):
                with pytest.raises(ValueError, match="no tea"):
                    execute(failures=failures, redelivered=bool(failures))
            execute(failures=2, redelivered=True)
        assert [entry[:2] for entry in seen[1:]] == [*[("started", "RUNNING")] * 3, ("finished", "FAILED")]
        assert [entry[3].attempts for entry in seen[1:]] == [1, 2, 3, 3]

    def test_an_attempt_of_which_nothing_is_known_counts(self):
        result = run(tasks.describe.enqueue(7), redelivered=True)
        assert (result.attempts, result.return_value["attempt"]) == (2, 2)
        assert result.worker_ids[0] == "unknown"


class TestOnlyTasks:
    @pytest.mark.parametrize(
        ("path", "says"),
        [
            (f"{PATH}.plain", "it is of type function, and not a Task"),
            (f"{PATH}.missing", f"{PATH} has no 'missing'"),
            (f"{PATH}.another_name", f"another name of the task {PATH}.add"),
            (f"{PATH}.Order.delete", "importing tests.django.shop.tasks.Order raised ModuleNotFoundError"),
            ("os.system", "it is of type builtin_function_or_method, and not a Task"),
            ("builtins.eval", "and not a Task"),
            ("no_such_module.task", "importing no_such_module raised ModuleNotFoundError"),
            ("eval", "is not the path of a task"),
            ("", "is not the path of a task"),
            ("a..b", "is not the path of a task"),
            ("os.system('x')", "is not the path of a task"),
            (".tasks.add", "is not the path of a task"),
        ],
    )
    def test_what_is_no_task_is_not_called_but_a_dead_letter(self, path, says):
        tasks.add.enqueue(1)
        payload = {**publisher.outbox[0].payload, "task": path, "args": ["echo called > /tmp/called"]}
        with pytest.raises(Reject) as caught:
            TaskHandler("default")(of_payload(payload, "id"))
        assert says in str(caught.value)
        with pytest.raises(UnusableMessage):
            find_task(path)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ([1], "its body is not a JSON object, but list"),
            ({"task": 1}, "its field 'task'"),
            ({"args": {}}, "its field 'args'"),
            ({"kwargs": None}, "its field 'kwargs'"),
            ({"priority": True}, "its field 'priority'"),
            ({"priority": 1000}, "cannot run here: priority must be a whole number"),
            ({"queue": "other"}, "cannot run here: Queue 'other' is not valid"),
            ({"run_after": 7}, "its field 'run_after'"),
            ({"run_after": "soon"}, "Invalid isoformat string"),
            ({"run_after": "2026-01-01T00:00:00"}, "has no time zone"),
            ({"enqueued_at": None}, "its field 'enqueued_at'"),
            ({"enqueued_at": "0001-01-01T00:00:00+14:00"}, "the time '0001-01-01T00:00:00+14:00' is out of range"),
        ],
    )
    def test_a_message_that_is_no_task_is_a_dead_letter(self, change, says):
        tasks.add.enqueue(1)
        payload = {**publisher.outbox[0].payload, **change} if isinstance(change, dict) else change
        with pytest.raises(Reject) as caught:
            TaskHandler("default")(of_payload(payload, "id"))
        assert says in str(caught.value)

    @pytest.mark.parametrize("name", ["id", "task", "args", "kwargs", "queue", "priority", "run_after", "enqueued_at"])
    def test_a_field_that_is_missing_is_named(self, name):
        tasks.add.enqueue(1)
        payload = {key: value for key, value in publisher.outbox[0].payload.items() if key != name}
        with pytest.raises(Reject, match=f"its field '{name}' is missing"):
            TaskHandler("default")(of_payload(payload, "id"))

    @pytest.mark.parametrize("identity", ["", "i" * 65])
    def test_an_id_that_is_no_id_of_a_result_is_refused(self, identity):
        tasks.add.enqueue(1)
        with pytest.raises(Reject, match="its field 'id' must have 1 to 64 characters"):
            TaskHandler("default")(of_payload({**publisher.outbox[0].payload, "id": identity}, "id"))

    @pytest.mark.parametrize(
        ("code", "raised"), [("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(3)", "SystemExit: 3")]
    )
    def test_a_module_that_fails_at_its_import_is_named(self, code, raised, tmp_path, monkeypatch):
        (tmp_path / "broken_tasks.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(UnusableMessage, match=f"importing broken_tasks raised {raised}"):
            find_task("broken_tasks.add")

    def test_a_module_that_another_thread_imports_is_waited_for(self, tmp_path, monkeypatch):
        gate = types.ModuleType("task_gate")
        gate.began, gate.go = threading.Event(), threading.Event()
        monkeypatch.setitem(sys.modules, "task_gate", gate)
        (tmp_path / "slow_tasks.py").write_text(
            "import task_gate\nfrom django.tasks import task\n"
            f"task_gate.began.set()\nassert task_gate.go.wait({PATIENCE})\n"
            "@task\ndef add(a): return a\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        second_thread: list[int] = []

        def second() -> object:
            second_thread.append(threading.get_ident())
            return find_task("slow_tasks.add")

        def waits() -> bool:
            frame = sys._current_frames().get(second_thread[0]) if second_thread else None
            return frame is not None and "importlib" in frame.f_code.co_filename

        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            first = threads.submit(find_task, "slow_tasks.add")
            assert gate.began.wait(PATIENCE)
            other = threads.submit(second)
            assert eventually(lambda: other.done() or waits(), PATIENCE)
            gate.go.set()
            assert other.result(PATIENCE) is first.result(PATIENCE)

    @pytest.mark.parametrize(
        ("moment", "zone"), [("0001-01-01T00:00", "America/New_York"), ("9999-12-31T23:59", "Asia/Tokyo")]
    )
    def test_a_time_that_the_time_zone_of_the_settings_has_not_is_refused(self, moment, zone):
        tasks.add.enqueue(1)
        payload = {**publisher.outbox[0].payload, "enqueued_at": f"{moment}Z"}
        with override_settings(USE_TZ=False, TIME_ZONE=zone), pytest.raises(Reject, match="is out of range"):
            TaskHandler("default")(of_payload(payload, "id"))


class TestRunAfter:
    def test_a_task_that_comes_much_too_early_is_not_run(self):
        with using(scheduler=True, results=False), signals() as seen:
            tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
            with pytest.raises(Reject, match=r"s too early; .* schedulerSupport"):
                execute()
        assert [entry[0] for entry in seen] == ["enqueued"]

    def test_a_task_that_comes_a_little_too_early_waits(self):
        with using(scheduler=True, results=False):
            due = timezone.now() + timedelta(seconds=0.3)
            result = run(tasks.add.using(run_after=due).enqueue(1))
        assert result.started_at >= due
        assert result.task.run_after == due

    def test_the_scheduler_may_be_gone_meanwhile(self):
        with using(scheduler=True, results=False):
            tasks.add.using(run_after=timezone.now()).enqueue(1)
            (message,) = publisher.outbox
        with pytest.raises(Reject, match="cannot run here: Backend does not support run_after"):
            execute(message)


class TestHandlers:
    def test_the_handler_can_be_pickled(self):
        handler = pickle.loads(pickle.dumps(TaskHandler("default")))
        tasks.add.enqueue(1)
        with signals() as seen:
            handler(received(publisher.outbox[0]))
        assert seen[-1][:2] == ("finished", "SUCCESSFUL")

    def test_there_is_one_for_each_queue_beside_those_of_the_apps(self, monkeypatch):
        monkeypatch.setitem(handlers_by_alias, "default", Handlers(once_arguments=1))
        handlers_by_alias["default"].subscribe("/queue/a")(print)
        for _ in range(2):  # a second time, they are not there twice
            assert [each.destination for each in handlers_of("default")] == [
                *("/queue/a", "/queue/tasks.default", "/queue/tasks.emails")
            ]
        assert [each.destination for each in handlers_by_alias["default"]] == ["/queue/a"]
        assert [each.name for each in handlers_of("default")][1:] == ["settings.TASKS['default']"] * 2

    def test_a_queue_that_has_a_handler_already_is_refused(self, monkeypatch):
        monkeypatch.setitem(handlers_by_alias, "default", Handlers(once_arguments=1))
        handlers_by_alias["default"].subscribe("/queue/tasks.default")(print)
        with pytest.raises(ConfigurationError, match=r"handled by builtins\.print already"):
            handlers_of("default")

    def test_the_command_says_that_there_is_no_backend_for_the_alias(self):
        entry = {"OPTIONS": {"url": "stomp://127.0.0.1:1"}}
        with (
            override_settings(STOMP={"default": entry, "spare": entry}),
            pytest.raises(CommandError, match=r"nor has settings\.TASKS a backend .* for this alias"),
        ):
            call_command("stomp_worker", "--using", "spare")


@pytest.fixture
def worker(broker_settings: Broker) -> Iterator[Broker]:
    """The development broker, with a worker in a thread that runs the tasks of the default backend."""
    running = Running(make_worker("default", publishers["default"].options, tasks_alone())).alive()
    yield broker_settings
    assert running.stop() == 0


class TestThroughTheBroker:
    def test_tasks_run_and_their_messages_are_acknowledged(self, worker: Broker):
        with signals() as seen:
            sent = {tasks.add.enqueue(number, b=1).id: number + 1 for number in range(20)}
            tasks.fail.enqueue("no tea")
            assert worker.wait_until(lambda: len(finished(seen)) == 21)
        good = [result for result in finished(seen) if result.status == TaskResultStatus.SUCCESSFUL]
        assert {result.id: result.return_value for result in good} == sent
        assert all(result.worker_ids[0].rpartition("-")[2].isdigit() for result in good)
        queue = "/queue/tasks.default"
        assert worker.wait_until(lambda: not worker.pending(queue) + worker.unacknowledged(queue))
        assert worker.messages("/queue/DLQ") == []

    def test_higher_priorities_come_first(self, broker_settings: Broker):
        for priority in (-100, 0, 100, 50):
            tasks.add.using(priority=priority).enqueue(priority)
        with signals() as seen:
            made = make_worker("default", publishers["default"].options, tasks_alone())
            made.concurrency = 1
            running = Running(made).alive()
            assert broker_settings.wait_until(lambda: len(finished(seen)) == 4)
            assert running.stop() == 0
        assert [result.return_value for result in finished(seen)] == [100, 50, 0, -100]

    def test_what_is_no_task_becomes_a_dead_letter_that_says_why(self, worker: Broker):
        with Publisher(worker.url) as sender:
            sender.send("/queue/tasks.default", {"id": 7})
            sender.send("/queue/tasks.emails", "text", serializer="text")
            sender.send("/queue/tasks.emails", "pickled", serializer="pickle")
        letters = worker.wait_for("/queue/DLQ", 3)
        errors = sorted(letter.headers["x-error"] for letter in letters)
        assert any("its field 'id' is missing or has a wrong type" in error for error in errors)
        assert sum("accept" in error for error in errors) == 2

    def test_the_failed_attempts_are_counted_by_the_worker(self, broker_settings: Broker):
        with using(max_attempts=3, results=False), signals() as seen:
            running = Running(make_worker("default", publishers["default"].options, tasks_alone())).alive()
            tasks.fail_until.enqueue(3)
            assert broker_settings.wait_until(lambda: bool(finished(seen)))
            assert running.stop() == 0
        assert [entry[3].attempts for entry in seen if entry[0] == "started"] == [1, 2, 3]
        assert finished(seen)[0].return_value == 3

    def test_signed_tasks_run_and_others_do_not(self, broker_settings: Broker):
        entry = {"OPTIONS": {"url": broker_settings.url, "signing_keys": ["k" * 32]}}
        with using(serializer="signed-json", results=False, stomp=entry), signals() as seen:
            running = Running(make_worker("default", publishers["default"].options, tasks_alone())).alive()
            tasks.add.enqueue(1)
            assert broker_settings.wait_until(lambda: bool(finished(seen)))
            (message,) = broker_settings.messages("/queue/tasks.default")
            publishers["default"].send("/queue/tasks.default", json.loads(message.body))
            (letter,) = broker_settings.wait_for("/queue/DLQ", 1)
            assert running.stop() == 0
        assert len(finished(seen)) == 1
        assert "accept" in letter.headers["x-error"]

    def test_a_process_that_a_task_has_forked_stores_nothing(self, worker: Broker):
        if sys.platform != "linux":
            pytest.skip("it forks")
        with signals() as seen:
            tasks.fork.enqueue()
            assert worker.wait_until(lambda: bool(finished(seen)))
        assert [result.return_value for result in finished(seen)] == [1]


def test_two_backends_may_use_one_alias(broker_settings: Broker):
    both = {"default": backend("default", results=False), "slow": backend("slow", results=False)}
    with override_settings(TASKS=both), signals() as seen:
        running = Running(make_worker("default", publishers["default"].options, tasks_alone())).alive()
        tasks.add.enqueue(1)
        tasks.add.using(backend="slow", queue_name="slow").enqueue(2)
        assert broker_settings.wait_until(lambda: len(finished(seen)) == 2)
        assert running.stop() == 0
    assert {result.return_value: result.backend for result in finished(seen)} == {1: "default", 2: "slow"}
