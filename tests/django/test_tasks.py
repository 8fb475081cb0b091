"""`StompTaskBackend` sends tasks: the contract of Django's backends, the message, transactions, and the checks."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.db import transaction
from django.tasks import Task, TaskResultStatus, default_task_backend, task, task_backends
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend
from django.test import TestCase, modify_settings, override_settings
from django.utils import timezone

from stomp_web import BrokerUnavailable, ConfigurationError, DeliveryUnknown, SerializationError
from stomp_web.django import publisher
from stomp_web.django.handlers import handlers_of
from stomp_web.django.outbox.models import OutboxMessage, TaskRecord
from stomp_web.django.outbox.writing import make_relay
from stomp_web.django.tasks import StompTaskBackend
from stomp_web.django.tasks.message import priority_of
from stomp_web.django.test import capture_messages
from tests.django.shop import tasks
from tests.django.task_backends import backend, signals, using
from tests.django.test_on_commit import undone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker

MEMORY = {"OPTIONS": {"url": "memory://"}}


@pytest.fixture(autouse=True)
def default_backend() -> Iterator[None]:
    with using("default", "emails", results=False):
        yield
    OutboxMessage.objects.all().delete()
    TaskRecord.objects.all().delete()


class TestEnqueue:
    def test_the_result_is_ready_and_the_arguments_are_json(self):
        result = tasks.add.enqueue(1, b=(2, b"3"))

        assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
        assert (result.task, result.args, result.kwargs) == (tasks.add, [1], {"b": [2, "3"]})
        assert (result.backend, result.errors, result.worker_ids) == ("default", [], [])
        assert result.enqueued_at is not None
        assert result.started_at is result.finished_at is result.last_attempted_at is None
        with pytest.raises(ValueError, match="has not finished yet"):
            result.return_value  # noqa: B018

    def test_the_message_says_what_to_run(self):
        result = tasks.add.using(priority=50, queue_name="emails").enqueue(1, b=2)

        (message,) = publisher.outbox
        assert (message.destination, message.id, len(message.id)) == ("/queue/tasks.emails", result.id, 32)
        assert message.payload == {
            "id": result.id,
            "task": "tests.django.shop.tasks.add",
            "args": [1],
            "kwargs": {"b": 2},
            "queue": "emails",
            "priority": 50,
            "run_after": None,
            "enqueued_at": result.enqueued_at.isoformat(),
        }
        assert message.headers["priority"] == "7"
        assert message.headers["persistent"] == "true"
        assert message.headers["x-task"] == "tests.django.shop.tasks.add"

    def test_two_have_different_ids(self):
        assert tasks.add.enqueue(1).id != tasks.add.enqueue(1).id

    def test_from_async_code_it_is_the_same(self):
        result = asyncio.run(tasks.add_later.aenqueue(1, b=2))

        (message,) = publisher.outbox
        assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [1], {"b": 2})
        assert (message.id, message.payload["task"]) == (result.id, "tests.django.shop.tasks.add_later")

    def test_what_is_not_json_is_refused_and_nothing_is_sent(self):
        with pytest.raises(TypeError, match="Unsupported type"):
            tasks.add.enqueue(datetime.now())
        with pytest.raises(TypeError, match="Unsupported type"):
            asyncio.run(tasks.add.aenqueue(datetime.now()))
        with pytest.raises(SerializationError, match="NaN"):
            tasks.add.enqueue(float("nan"))
        assert publisher.outbox == []

    def test_the_signal_is_sent_with_the_result_and_the_class_of_the_backend(self):
        with signals() as seen:
            results = [tasks.add.enqueue(1), asyncio.run(tasks.add.aenqueue(1))]

        assert [entry[:3] for entry in seen] == [("enqueued", "READY", StompTaskBackend)] * 2
        assert [entry[3] for entry in seen] == results

    def test_django_logs_it(self, caplog: pytest.LogCaptureFixture):
        with caplog.at_level(logging.DEBUG, "django.tasks"):
            result = tasks.add.enqueue(1)
        (line,) = caplog.messages
        assert f"id={result.id} path=tests.django.shop.tasks.add enqueued backend=default" in line

    def test_the_backend_has_its_alias_and_its_features(self):
        made = task_backends["default"]
        assert default_task_backend == made
        assert isinstance(made, StompTaskBackend)
        assert (made.alias, made.queues, made.check()) == ("default", {"default", "emails"}, [])
        features = made.supports_async_task, made.supports_priority, made.supports_defer, made.supports_get_result
        assert features == (True, True, False, False)

    def test_a_broker_that_is_away_is_an_error_and_no_signal_is_sent(self):
        entry = {"OPTIONS": {"url": "stomp://127.0.0.1:1", "timeout": 1}}
        with using(results=False, stomp=entry), signals() as seen:
            with pytest.raises(BrokerUnavailable):
                tasks.add.enqueue(1)
            with pytest.raises(BrokerUnavailable):
                asyncio.run(tasks.add.aenqueue(1))
        assert seen == []

    def test_an_alias_that_is_not_there_is_an_error(self):
        with (
            using(using="other", results=False),
            pytest.raises(ConfigurationError, match=r"settings\.STOMP has no publisher 'other'"),
        ):
            tasks.add.enqueue(1)

    def test_tests_capture_it(self):
        with capture_messages() as messages:
            tasks.add.enqueue(7)
        assert messages[0].payload["args"] == [7]
        assert publisher.outbox == []

    @pytest.mark.skipif(not hasattr(Task, "_reconstruct"), reason="Django pickles tasks since 6.1")
    def test_the_result_can_be_pickled(self):
        result = tasks.add.enqueue(1)
        assert pickle.loads(pickle.dumps(result)) == result


class TestValidation:
    def test_a_queue_that_is_not_there_is_refused(self):
        with pytest.raises(InvalidTask, match="Queue 'other' is not valid"):
            tasks.add.using(queue_name="other")

    def test_it_is_refused_when_the_settings_have_changed(self):
        chosen = tasks.add.using(queue_name="emails")
        with using("default", results=False):
            with pytest.raises(InvalidTask, match="Queue 'emails' is not valid"):
                chosen.enqueue(1)
            with pytest.raises(InvalidTask, match="Queue 'emails' is not valid"):
                asyncio.run(chosen.aenqueue(1))
        assert publisher.outbox == []

    @pytest.mark.parametrize("priority", [-101, 101, 3.1])
    def test_a_priority_out_of_range_is_refused(self, priority):
        with pytest.raises(InvalidTask, match="whole number between -100 and 100"):
            tasks.add.using(priority=priority)

    def test_a_function_inside_another_is_refused(self):
        def inner() -> None: ...

        with pytest.raises(InvalidTask, match="module level"):
            task(inner)

    def test_a_context_needs_an_argument(self):
        with pytest.raises(InvalidTask, match="first argument of 'context'"):
            task(takes_context=True)(tasks.plain)

    def test_a_task_whose_name_names_something_else_is_refused(self):
        with pytest.raises(InvalidTask, match="it is of type function, and not a Task"):
            tasks.misnamed.enqueue("x")

    def test_a_task_of_the_main_module_is_refused(self, monkeypatch):
        monkeypatch.setattr(tasks.add.func, "__module__", "__main__")
        with pytest.raises(InvalidTask, match="which a worker cannot import"):
            tasks.add.enqueue(1)

    def test_there_may_be_no_backend(self):
        with override_settings(TASKS={}), pytest.raises(InvalidTaskBackend):
            tasks.add.enqueue(1)


@pytest.mark.parametrize(
    ("priority", "sent"),
    [
        *((-100, 0), (-76, 0), (-75, 1), (-51, 1), (-50, 2), (-26, 2), (-25, 3), (-1, 3)),
        *((0, 4), (1, 5), (20, 5), (21, 6), (40, 6), (41, 7), (60, 7), (61, 8), (80, 8), (81, 9), (100, 9)),
    ],
)
def test_the_priority_of_the_message(priority, sent):
    assert priority_of(tasks.add.using(priority=priority)) == sent


def test_every_priority_has_one_and_none_is_above_a_higher_one():
    sent = [priority_of(tasks.add.using(priority=priority)) for priority in range(-100, 101)]
    assert sent == sorted(sent)
    assert set(sent) == set(range(10))


class TestRunAfter:
    def test_it_is_refused_unless_the_broker_has_a_scheduler(self):
        with pytest.raises(InvalidTask, match="does not support run_after"):
            tasks.add.using(run_after=timezone.now())

    def test_the_broker_is_told_the_delay_in_milliseconds(self):
        with using(scheduler=True, results=False):
            assert default_task_backend.supports_defer is True
            due = timezone.now() + timedelta(hours=1)
            result = tasks.add.using(run_after=due).enqueue(1)

            (message,) = publisher.outbox
            delay = timedelta(milliseconds=int(message.headers["AMQ_SCHEDULED_DELAY"]))
            assert timedelta() <= result.enqueued_at + delay - due < timedelta(milliseconds=1)
            assert datetime.fromisoformat(message.payload["run_after"]) == due

    def test_a_time_that_has_passed_is_no_delay(self):
        with using(scheduler=True, results=False):
            tasks.add.using(run_after=timezone.now()).enqueue(1)
            assert "AMQ_SCHEDULED_DELAY" not in publisher.outbox[0].headers

    def test_a_naive_time_is_refused(self):
        with using(scheduler=True, results=False), pytest.raises(InvalidTask, match="aware"):
            tasks.add.using(run_after=datetime.now())

    def test_without_time_zones_a_naive_time_is_local(self):
        with using(scheduler=True, results=False), override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
            tasks.add.using(run_after=datetime(2100, 1, 1, 9)).enqueue(1)
            assert publisher.outbox[0].payload["run_after"] == datetime(2100, 1, 1, tzinfo=UTC).isoformat()


class TestOptions:
    def test_the_destination_and_more_headers(self):
        with using("emails", destination="/queue/{queue}-tasks", headers={"x-max-priority": "9"}, results=False):
            tasks.add.using(queue_name="emails").enqueue(1)
            (message,) = publisher.outbox
            (handler,) = (each for each in handlers_of("default") if each.destination == "/queue/emails-tasks")
        assert message.destination == "/queue/emails-tasks"
        assert message.headers["x-max-priority"] == "9"
        assert handler.headers == {"x-max-priority": "9"}

    def test_another_alias(self):
        from stomp_web.django import publishers

        with using(using="audit", results=False):
            tasks.add.enqueue(1)
            assert len(publishers["audit"].outbox) == 1
            assert [each.destination for each in handlers_of("audit")][-1] == "/queue/tasks.default"
            assert "/queue/tasks.default" not in [each.destination for each in handlers_of("default")]

    def test_signed(self):
        entry = {"OPTIONS": {"url": "memory://", "signing_keys": ["k" * 32]}}
        with using(serializer="signed-json", results=False, stomp=entry):
            tasks.add.enqueue(1)
            assert "x-signature" in publisher.outbox[0].headers
            assert [each.accept for each in handlers_of("default")][-1] == ("signed-json",)


class TestTransactions:
    def test_by_default_it_does_not_wait_for_the_commit(self):
        with transaction.atomic():
            result = tasks.add.enqueue(1)
            assert len(publisher.outbox) == 1
        assert result.enqueued_at is not None

    def test_on_commit(self):
        with using(on_commit=True, results=False):
            with transaction.atomic():
                tasks.add.enqueue(1)
                assert publisher.outbox == []
            assert len(publisher.outbox) == 1
            with undone():
                tasks.add.enqueue(2)
            tasks.add.enqueue(3)
            assert [message.payload["args"] for message in publisher.outbox] == [[1], [3]]

    @pytest.mark.parametrize("stomp", [MEMORY, {**MEMORY, "OUTBOX": {"default": True}}], ids=["option", "alias"])
    def test_the_outbox(self, stomp):
        with using(results=False, stomp=stomp, outbox=None if "OUTBOX" in stomp else True):
            with transaction.atomic():
                result = tasks.add.using(priority=-100).enqueue(1)
            with undone():
                tasks.add.enqueue(2)
            assert publisher.outbox == []
            assert [row.message_id for row in OutboxMessage.objects.all()] == [result.id]
            assert make_relay("default").run(once=True) == 0
            (message,) = publisher.outbox
        assert (message.id, message.payload["args"], message.headers["priority"]) == (result.id, [1], "0")

    def test_the_outbox_makes_a_transaction_if_none_is_open(self):
        with using(results=False, outbox=True):
            tasks.add.enqueue(1)
        assert OutboxMessage.objects.count() == 1

    def test_the_outbox_of_the_alias_may_be_left_out(self):
        with using(results=False, stomp={**MEMORY, "OUTBOX": {"default": True}}, outbox=False):
            tasks.add.enqueue(1)
            assert len(publisher.outbox) == 1
        assert not OutboxMessage.objects.exists()


class TestFromAsyncCode(TestCase):
    async def test_the_outbox_is_written_in_the_transaction_of_the_test(self):
        with using(outbox=True, results=False):
            result = await tasks.add.aenqueue(1)
        assert [row.message_id async for row in OutboxMessage.objects.all()] == [result.id]


class TestUnknownOutcome:
    def test_a_receipt_that_does_not_come_is_an_error_and_the_task_may_run(self, local_broker: Broker):
        entry = {"OPTIONS": {"url": local_broker.url, "timeout": 1}}
        with using(results=False, stomp=entry), signals() as seen:
            local_broker.faults.close_before_receipt("SEND")
            with pytest.raises(DeliveryUnknown):
                tasks.add.enqueue(1)
        assert seen == []


def found(**settings: Any) -> dict[str, str]:
    with override_settings(**settings):
        messages = run_checks()
    return {message.id: f"{message.msg} {message.hint or ''}" for message in messages}


class TestChecks:
    def test_good_settings_pass(self):
        assert found() == {}

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"using": "other"}, "settings.STOMP has no publisher 'other'"),
            ({"queue": "a"}, "no option queue"),
            ({"result": True}, "did you mean results?"),
            ({"using": 1}, "using must be an alias of settings.STOMP"),
            ({"destination": "/queue/tasks"}, "destination must be a text that contains {queue}"),
            ({"headers": {"a": 1}}, "headers must be a dict of str to str"),
            ({"serializer": "pickle"}, "serializer must be 'json' or 'signed-json'"),
            ({"serializer": "signed-json"}, "set signing_keys"),
            ({"outbox": "yes"}, "outbox must be True, False or None"),
            ({"on_commit": None}, "on_commit must be True or False"),
            ({"outbox": True, "on_commit": True}, "outbox and on_commit exclude each other"),
            ({"keep": 0}, "keep must be a number of days"),
            ({"max_attempts": 0}, "max_attempts must be a whole number"),
            ({"max_attempts": 7}, "set max_redeliveries in its WORKER to 6 or more"),
            ({"scheduler": "activemq"}, "scheduler must be True or False"),
        ],
    )
    def test_options_that_cannot_be_used(self, options, says):
        messages = found(TASKS={"default": backend(**options)})
        assert list(messages) == ["stomp_web.E006"]
        assert messages["stomp_web.E006"].startswith("settings.TASKS['default']['OPTIONS']: ")
        assert says in messages["stomp_web.E006"]

    def test_options_must_be_a_dict(self):
        assert found(TASKS={"default": {**backend(), "OPTIONS": ["using"]}}) == {
            "stomp_web.E006": "settings.TASKS['default']['OPTIONS'] must be a dict, not of type list "
        }

    @pytest.mark.parametrize(
        ("queues", "says"),
        [
            ([], "QUEUES is empty"),
            ([""], "the name of a queue must be a text, not ''"),
            ([7], "the name of a queue must be a text, not 7"),
        ],
    )
    def test_queues_that_cannot_be_used(self, queues, says):
        messages = found(TASKS={"default": {**backend(), "QUEUES": queues}})
        assert list(messages) == ["stomp_web.E007"]
        assert messages["stomp_web.E007"].startswith("settings.TASKS['default']['QUEUES']: ")
        assert says in messages["stomp_web.E007"]

    @pytest.mark.parametrize(
        "entry",
        [backend("a\nb"), backend(destination="{queue}\0"), backend(headers={"destination": "/queue/a"})],
        ids=["name", "destination", "headers"],
    )
    def test_what_no_frame_can_hold(self, entry):
        messages = found(TASKS={"default": entry})
        assert list(messages) == ["stomp_web.E007"]
        text = messages["stomp_web.E007"]
        assert text.startswith("settings.TASKS['default'] has a queue that cannot be received from: ")
        assert "destination" in text

    def test_two_backends_with_one_queue(self):
        two = {"default": backend("a", "b"), "other": backend("b", "c")}
        messages = found(TASKS=two)
        assert list(messages) == ["stomp_web.E007"]
        assert "have the same queue at the broker: /queue/tasks.b of 'default'" in messages["stomp_web.E007"]
        assert found(TASKS={**two, "other": backend("b", using="audit")}) == {}

    def test_more_attempts_need_more_redeliveries(self):
        worker = {"default": {"OPTIONS": {"url": "stomp://localhost:1"}, "WORKER": {"max_redeliveries": 6}}}
        assert found(TASKS={"default": backend(max_attempts=7)}, STOMP=worker) == {}

    @pytest.mark.parametrize("options", [{"outbox": True}, {"results": True}])
    def test_an_app_that_is_missing(self, options):
        with modify_settings(INSTALLED_APPS={"remove": "stomp_web.django.outbox"}):
            with using(**options), pytest.raises(ConfigurationError, match=r"add 'stomp_web\.django\.outbox'"):
                tasks.add.enqueue(1)
            with using(**options):
                (message,) = task_backends["default"].check()
        assert message.id == "stomp_web.E004"
        assert f"has {next(iter(options))}, and 'stomp_web.django.outbox'" in message.msg

    def test_the_app_of_the_worker_is_missing(self):
        with modify_settings(INSTALLED_APPS={"remove": "stomp_web.django"}):
            messages = found()
        assert "stomp_web.E008" in messages

    def test_no_finding_and_no_error_shows_a_key(self):
        entry = {"OPTIONS": {"url": "memory://", "signing_keys": ["correct-horse-battery"]}}
        messages = found(TASKS={"default": backend(serializer="signed")}, STOMP={"default": entry})
        assert "stomp_web.E006" in messages
        assert "correct" not in json.dumps(messages)
