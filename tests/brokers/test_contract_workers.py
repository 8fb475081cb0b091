"""The contract, workers: what a worker makes of the broker's habits, at every broker that has them."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from stomp_web import QueueingDuplexClient, Rejected
from stomp_web.worker import Worker
from tests.brokers.fleet import BROKERS
from tests.brokers.running import PATIENCE
from tests.client.scripted import eventually
from tests.worker.running import Notes, Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web import Publisher
    from stomp_web.worker import ReceivedMessage
    from tests.brokers.running import RunningBroker

RABBITMQ = [name for name in BROKERS if name.startswith("rabbitmq")]
QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}


@pytest.fixture
def run() -> Iterator[Any]:
    """Runs a worker in a thread until the test ends: ``run(worker)``."""
    running: list[Running] = []

    def begin(worker: Worker) -> Running:
        running.append(Running(worker))
        return running[-1]

    yield begin
    for each in running:
        each.worker.stop()
    for each in running:
        assert each.ended(PATIENCE)


def becomes_alive(running: Running) -> bool:
    eventually(lambda: running.worker.is_alive or running.error is not None, PATIENCE)
    return running.error is None and running.worker.is_alive


@pytest.mark.parametrize("broker", RABBITMQ, indirect=True)
def test_two_workers_that_declare_a_quorum_queue_at_the_same_time_both_get_messages(
    broker: RunningBroker, publisher: Publisher, run: Any
) -> None:
    """RabbitMQ 3.10.8 answers one of them with "Processing error", in every fourth case or so."""
    for _ in range(10):
        destination = f"/queue/declared-twice-{uuid.uuid4().hex}"
        both = []
        together = threading.Barrier(2)
        for _ in range(2):
            worker = Worker(broker.url, concurrency=1)
            worker.subscribe(destination, headers=QUORUM)(Notes())
            _subscribes_after(worker, together)
            both.append(run(worker))
        for running in both:
            assert becomes_alive(running), running.error
        for running in both:
            assert running.stop() == 0


def _subscribes_after(worker: Worker, together: threading.Barrier) -> None:
    """Let the worker's first SUBSCRIBE wait for that of the other one."""
    make_client = worker._make_client

    def make(inbox: Any) -> QueueingDuplexClient:
        client = make_client(inbox)
        subscribe, first = client.subscribe, [True]

        def wait(*arguments: Any, **keywords: Any) -> str:
            if first:
                first.clear()
                together.wait(PATIENCE)
            return subscribe(*arguments, **keywords)

        client.subscribe = wait  # type: ignore[method-assign]
        return client

    worker._make_client = make  # type: ignore[method-assign]


@pytest.mark.parametrize("broker", RABBITMQ, indirect=True)
def test_a_queue_that_is_declared_later_is_waited_for(
    broker: RunningBroker, publisher: Publisher, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"declared-later-{uuid.uuid4().hex}"
    notes = Notes()
    worker = Worker(broker.url, concurrency=1)
    worker.subscribe(f"/amq/queue/{name}")(notes)
    running = run(worker)
    assert eventually(lambda: "NOT_FOUND" in caplog.text, PATIENCE)
    assert not worker.is_alive
    with QueueingDuplexClient.from_url(broker.url) as other:
        other.connect()
        other.subscribe(f"/queue/{name}", headers={"durable": "true", "auto-delete": "false"})
        other.unsubscribe("sub-1")
        assert becomes_alive(running), running.error
        publisher.send(f"/queue/{name}", 1)
        assert notes.wait(1, PATIENCE)[0].payload == 1


@pytest.mark.parametrize("broker", RABBITMQ, indirect=True)
def test_a_queue_of_another_kind_ends_the_run_at_once(broker: RunningBroker, run: Any) -> None:
    destination = f"/queue/of-another-kind-{uuid.uuid4().hex}"
    with QueueingDuplexClient.from_url(broker.url) as other:
        other.connect()
        other.subscribe(destination, headers=QUORUM)
        worker = Worker(broker.url)
        worker.subscribe(destination, headers={"durable": "true", "auto-delete": "false"})(Notes())
        with pytest.raises(Rejected, match="inequivalent arg"):
            worker.run()


@pytest.mark.parametrize("broker", ["activemq"], indirect=True)
def test_a_selector_that_cannot_be_read_ends_the_run_at_once(broker: RunningBroker, destination: str) -> None:
    worker = Worker(broker.url)
    worker.subscribe(destination, headers={"selector": "a ="})(Notes())
    with pytest.raises(Rejected, match="a ="):
        worker.run()


def fail(message: ReceivedMessage) -> None:
    raise LookupError("the shelf is empty")


@pytest.mark.parametrize("broker", RABBITMQ, indirect=True)
def test_the_failures_in_a_quorum_queue_are_remembered_when_a_worker_is_started_again(
    broker: RunningBroker, publisher: Publisher, run: Any
) -> None:
    name = f"failing-{uuid.uuid4().hex}"
    destination, letters = f"/queue/{name}", f"/queue/{name}-dead"

    def worker(notes: Notes, most: int) -> Running:
        made = Worker(broker.url, concurrency=1, max_redeliveries=most, retry_delay=0.001, dead_letter=letters)
        made.subscribe(destination, headers=QUORUM)(notes)
        running: Running = run(made)
        assert becomes_alive(running), running.error
        return running

    first = Notes(fail)
    running = worker(first, 50)
    publisher.send(destination, {"id": 7}, {**QUORUM, "tenant": "x"})
    first.wait(4, PATIENCE)
    assert running.stop() == 0
    tries = len(first.messages)
    assert [message.failures for message in first.messages] == list(range(tries))

    second = Notes(fail)
    worker(second, tries)
    assert second.wait(1, PATIENCE)[0].failures >= tries
    with QueueingDuplexClient.from_url(broker.url) as client:
        client.connect()
        client.subscribe(letters)
        letter = client.receive(PATIENCE)
        assert letter is not None
        assert len(second.messages) == 1  # it had failed often enough before
        assert int(letter.headers["x-failures"]) > tries
        assert letter.headers["tenant"] == "x"
        assert not {"x-acquired-count", "x-delivery-count"} & set(letter.headers)
