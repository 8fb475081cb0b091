"""What real brokers do with tasks: priorities, delays, another try, and results."""

from __future__ import annotations

import contextlib
import signal
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.tasks import TaskResultStatus
from django.utils import timezone

from stomp_web.django import publishers
from stomp_web.django.handlers import make_worker
from tests.brokers.fleet import ACTIVEMQ, BROKERS, REAL
from tests.cli.running import ended
from tests.client.scripted import eventually
from tests.django.shop import tasks
from tests.django.task_backends import finished, signals, tasks_alone, using
from tests.django.task_shop import Shop
from tests.worker.running import PATIENCE, Running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.brokers.running import RunningBroker

_POLICY = """
<destinationPolicy><policyMap><policyEntries>
<policyEntry queue="&gt;" prioritizedMessages="true"/>
</policyEntries></policyMap></destinationPolicy>
"""


@pytest.fixture(scope="module", params=ACTIVEMQ)
def activemq(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """ActiveMQ with its scheduler and with priorities, as the page on tasks says."""
    kind: Any = BROKERS[request.param]
    if lack := kind.missing():
        if request.config.option.require_brokers:
            pytest.fail(f"{lack} (--require-brokers)", pytrace=False)
        pytest.skip(lack)

    class Scheduling(kind):
        def prepare(self) -> None:
            super().prepare()
            path = self.directory / "activemq.xml"
            text = path.read_text().replace('useJmx="false"', 'useJmx="false" schedulerSupport="true"')
            path.write_text(text.replace("<persistenceAdapter>", f"{_POLICY}<persistenceAdapter>", 1))

    with contextlib.closing(Scheduling()) as broker:
        broker.start()
        yield broker


def new_destination() -> str:
    """A pattern of queues that no other test has."""
    return f"/queue/tasks-{uuid.uuid4().hex[:12]}-{{queue}}"


def backend(broker: RunningBroker, **options: Any) -> Any:
    """Use a backend with such queues."""
    destination = new_destination()
    entry = {"OPTIONS": {"url": broker.url, "timeout": 30}, "WORKER": {"dead_letter": f"/queue/{uuid.uuid4().hex}"}}
    return using(destination=destination, results=False, stomp=entry, **options)


@contextlib.contextmanager
def working(concurrency: int = 4) -> Iterator[None]:
    worker = make_worker("default", publishers["default"].options, tasks_alone())
    worker.concurrency = concurrency
    running = Running(worker).alive()
    try:
        yield
    finally:
        assert running.stop() == 0


def results_of(seen: list[Any], count: int) -> list[Any]:
    """Wait for the results of *count* tasks, and return them in the order in which they finished."""
    assert eventually(lambda: len(finished(seen)) >= count, PATIENCE)
    return finished(seen)


def check_that_tasks_run(broker: RunningBroker, **options: Any) -> None:
    with backend(broker, max_attempts=2, **options), signals() as seen:
        tasks.add.enqueue(1, b=2)
        tasks.fail_until.enqueue(2)
        tasks.fail.enqueue("no tea")
        with working():
            results = results_of(seen, 3)
    found = {result.task.name: (result.status, result.attempts) for result in results}
    assert found == {
        "add": (TaskResultStatus.SUCCESSFUL, 1),
        "fail_until": (TaskResultStatus.SUCCESSFUL, 2),
        "fail": (TaskResultStatus.FAILED, 2),
    }


def check_priorities(broker: RunningBroker, **options: Any) -> None:
    with backend(broker, **options), signals() as seen:
        for priority in (-100, 0, 100, 50, -1):
            tasks.add.using(priority=priority).enqueue(priority)
        with working(concurrency=1):
            results = results_of(seen, 5)
    assert [result.return_value for result in results] == [100, 50, 0, -1, -100]


def check_that_a_task_runs_after_its_time(broker: RunningBroker) -> None:
    # So late that a worker would not wait for that time itself. A machine that is too slow for that gets more time.
    for seconds in (8, 60):
        with backend(broker, scheduler=True), signals() as seen, working():
            due = timezone.now() + timedelta(seconds=seconds)
            tasks.add.using(run_after=due).enqueue(1)
            tasks.add.enqueue(2)
            two = timezone.now()
            results = results_of(seen, 2)
        times = {result.return_value: result.started_at for result in results}
        assert times[1] >= due
        if times[2] < due:
            break
    assert [result.return_value for result in results] == [2, 1], f"the second one was sent {two}, due was {due}"


class TestRabbitMQ:
    def test_tasks_run(self, rabbitmq: RunningBroker):
        check_that_tasks_run(rabbitmq)

    def test_tasks_run_in_a_quorum_queue(self, rabbitmq: RunningBroker):
        headers = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}
        check_that_tasks_run(rabbitmq, headers=headers)

    def test_priorities_count_if_the_queue_has_them(self, rabbitmq: RunningBroker):
        check_priorities(rabbitmq, headers={"x-max-priority": "9"})


class TestActiveMQ:
    def test_tasks_run(self, activemq: RunningBroker):
        check_that_tasks_run(activemq)

    def test_priorities_count_if_the_policy_says_so(self, activemq: RunningBroker):
        check_priorities(activemq)

    def test_a_task_runs_after_its_time(self, activemq: RunningBroker):
        check_that_a_task_runs_after_its_time(activemq)


class TestArtemis:
    def test_tasks_run(self, artemis: RunningBroker):
        check_that_tasks_run(artemis)

    def test_priorities_count(self, artemis: RunningBroker):
        check_priorities(artemis)

    def test_a_task_runs_after_its_time(self, artemis: RunningBroker):
        check_that_a_task_runs_after_its_time(artemis)


@pytest.mark.parametrize("broker", REAL, indirect=True)
def test_the_command_runs_tasks_and_results_are_read_by_another_program(broker: RunningBroker, tmp_path: Path):
    shop = Shop(broker, tmp_path, worker={"dead_letter": new_destination()}, destination=new_destination())
    identities = shop.send(("add", [1, 2]), ("fail", ["no tea"]), ("store_order", ["tea"]))
    assert [result["status"] for result in shop.results(identities)] == ["READY"] * 3
    with shop.worker() as process:
        ends = {"SUCCESSFUL", "FAILED"}
        assert eventually(lambda: {each["status"] for each in shop.results(identities)} <= ends, PATIENCE)
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    assert code == 0, err
    results = shop.results(identities)
    assert [result["status"] for result in results] == ["SUCCESSFUL", "FAILED", "SUCCESSFUL"]
    assert [result["value"] for result in results] == [3, None, 1]
    assert results[1]["errors"][0].endswith("ValueError: no tea\n")
    assert shop.items == ["tea"]
