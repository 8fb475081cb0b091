"""Observers of a worker see each message come and end; they harm nobody."""

from __future__ import annotations

import logging
import os

import pytest

from stomp_web.broker import Broker
from stomp_web.observers import (
    MessageDeadLettered,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageReceived,
)
from stomp_web.worker import Reject, Worker
from tests.client.scripted import eventually
from tests.worker.running import PATIENCE, Notes, patient
from tests.worker.tasks import tell


def fail(message):
    raise LookupError("the shelf is empty")


def kinds(events):
    return [type(event) for event in events]


def seen(events, *expected):
    """Wait until these events have come."""
    assert eventually(lambda: kinds(events) == list(expected), PATIENCE), events
    return events


def test_a_message_that_is_handled(broker, publisher, start):
    events: list[object] = []
    worker = Worker(broker.url, observers=[events.append])
    worker.subscribe("/queue/a")(Notes())
    start(worker)
    message_id = publisher.send("/queue/a", "Zoë")
    received, handled = seen(events, MessageReceived, MessageHandled)
    assert (received.message_id, received.destination, received.subscription) == (message_id, "/queue/a", "/queue/a")
    assert (received.body_bytes, received.redelivered) == (4 + 2, False)
    assert received.headers["content-type"] == "application/json"
    assert received.server.startswith("stomp-web/")
    assert (handled.message_id, handled.destination, handled.subscription) == (message_id, "/queue/a", "/queue/a")
    assert 0 < handled.seconds < 60


def test_the_subscription_is_the_destination_of_the_handler(broker, publisher, start):
    events: list[object] = []
    worker = Worker(broker.url, observers=[events.append])
    worker.subscribe("/topic/orders.*")(Notes())
    start(worker)
    publisher.send("/topic/orders.7", 1)
    received, _ = seen(events, MessageReceived, MessageHandled)
    assert (received.destination, received.subscription) == ("/topic/orders.7", "/topic/orders.*")


def test_one_that_fails_is_given_back_and_at_last_a_dead_letter(start):
    events: list[object] = []
    with Broker(server="RabbitMQ/3.10.8") as broker, patient(broker) as publisher:
        worker = Worker(broker.url, max_redeliveries=1, retry_delay=0.001, observers=[events.append])
        worker.subscribe("/queue/a")(fail)
        running = start(worker)
        publisher.send("/queue/a", 1)
        # The broker may deliver the message again before the thread that has sent the NACK notifies the observer.
        assert eventually(lambda: MessageDeadLettered in kinds(events) and MessageGivenBack in kinds(events), PATIENCE)
        running.stop()
    events.sort(key=lambda event: isinstance(event, MessageGivenBack))
    once = [MessageReceived, MessageFailed]
    assert kinds(events) == [*once, *once, MessageDeadLettered, MessageGivenBack]
    _, first, again, second, letter, _ = events
    assert (first.error, first.kind, first.failures) == ("LookupError: the shelf is empty", "LookupError", 1)
    assert (again.redelivered, second.failures) == (True, 2)
    assert (letter.dead_letter, letter.error) == ("/queue/DLQ", "LookupError: the shelf is empty")
    stats = worker.stats()
    assert (stats.received, stats.failed, stats.given_back, stats.dead_lettered) == (2, 2, 1, 1)


def test_a_message_that_the_worker_tries_again_itself_is_received_once(start):
    events: list[object] = []
    with Broker(server="ActiveMQ/5.17.2") as broker, patient(broker) as publisher:
        worker = Worker(broker.url, max_redeliveries=1, retry_delay=0.001, observers=[events.append])
        worker.subscribe("/queue/a")(fail)
        running = start(worker)
        publisher.send("/queue/a", 1)
        seen(events, MessageReceived, MessageFailed, MessageFailed, MessageDeadLettered)
        running.stop()


def test_a_message_that_is_rejected(broker, publisher, start):
    def reject(message):
        raise Reject("no such customer")

    events: list[object] = []
    worker = Worker(broker.url, observers=[events.append])
    worker.subscribe("/queue/a")(reject)
    start(worker)
    publisher.send("/queue/a", 1)
    _, failed, _ = seen(events, MessageReceived, MessageFailed, MessageDeadLettered)
    assert failed.kind == "Reject"


def test_the_events_come_in_the_workers_own_process(broker, publisher, start):
    pids: list[int] = []
    events: list[object] = []

    def observe(event):
        events.append(event)
        pids.append(os.getpid())

    worker = Worker(broker.url, processes=1, observers=[observe])
    worker.subscribe("/queue/ask")(tell)
    start(worker)
    publisher.send("/queue/ask", {"to": "/queue/answers", "url": broker.url})
    seen(events, MessageReceived, MessageHandled)
    assert set(pids) == {os.getpid()}


@pytest.mark.parametrize("raised", [KeyError("broken"), SystemExit(3)])
def test_an_observer_that_raises_is_logged_and_changes_nothing(broker, publisher, start, caplog, raised):
    def broken(event):
        raise raised

    worker = Worker(broker.url, concurrency=1, observers=[broken])
    notes = Notes()
    worker.subscribe("/queue/a")(notes)
    with caplog.at_level(logging.ERROR, "stomp_web.observers"):
        running = start(worker)
        publisher.send_many([("/queue/a", 1), ("/queue/a", 2)])
        notes.wait(2)
        assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))
        assert running.stop() == 0
    assert worker.stats().handled == 2
    assert "MessageReceived" in caplog.text
    assert "MessageHandled" in caplog.text


def test_a_log_handler_that_raises_changes_nothing_either(broker, publisher, start, capfd):
    class Ending(logging.Handler):
        def emit(self, record):
            raise SystemExit(record.getMessage())

    def broken(event):
        raise SystemExit(3)

    worker = Worker(broker.url, concurrency=1, observers=[broken])
    notes = Notes()
    worker.subscribe("/queue/a")(notes)
    logger, handler = logging.getLogger("stomp_web.observers"), Ending()
    logger.addHandler(handler)
    try:
        running = start(worker)
        publisher.send_many([("/queue/a", 1), ("/queue/a", 2)])
        notes.wait(2)
        assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))
        assert running.stop() == 0
    finally:
        logger.removeHandler(handler)
    stats = worker.stats()
    assert (stats.received, stats.handled, stats.failed) == (2, 2, 0)
    written = capfd.readouterr().err
    for event in ("MessageReceived", "MessageHandled"):
        assert f"SystemExit: an observer has ended its thread at {event}" in written


def test_an_observer_may_send(broker, publisher, start):
    def audit(event):
        if isinstance(event, MessageHandled):
            publisher.send("/queue/audit", event.message_id)

    worker = Worker(broker.url, observers=[audit])
    worker.subscribe("/queue/a")(Notes())
    start(worker)
    publisher.send("/queue/a", 1)
    assert len(broker.wait_for("/queue/audit")) == 1


def test_no_event_shows_headers(broker, publisher, start):
    events: list[object] = []
    worker = Worker(broker.url, observers=[events.append])
    worker.subscribe("/queue/a")(Notes())
    start(worker)
    publisher.send("/queue/a", "s3cret", {"token": "s3cret"})
    assert "s3cret" not in repr(seen(events, MessageReceived, MessageHandled))
