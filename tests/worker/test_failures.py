"""A handler that fails: the message comes again, and in the end it is a dead letter. It is never lost."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from stomp_web import ConfigurationError, PublishClient, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.connection.session import Session
from stomp_web.worker import Reject, Worker
from tests.broker.clock import Clock
from tests.client.scripted import Server, eventually
from tests.worker.running import PATIENCE, Notes, patient, settled


def fail(message):
    raise LookupError("the shelf is empty")


#: A broker that takes a message back (NACK), and one that takes NACK for the message's end, as ActiveMQ does.
BOTH = pytest.mark.parametrize("server", ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2", "stomp-web/test"])


@BOTH
def test_a_message_that_failed_comes_again_and_says_so(start, server):
    def handle(message):
        if message.failures < 2:
            raise LookupError("not yet")

    notes = Notes(handle)
    with Broker(server=server) as broker, patient(broker) as publisher:
        worker = Worker(broker.url, retry_delay=0.01)
        worker.subscribe("/queue/a")(notes)
        running = start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(3)
        assert settled(broker)
        assert [(message.redelivered, message.failures) for message in notes.messages] == [
            (False, 0),
            (True, 1),
            (True, 2),
        ]
        assert broker.messages("/queue/DLQ") == []
        assert running.stop() == 0
        assert worker.stats().failed == 2
        assert worker.stats().handled == 1


@BOTH
@pytest.mark.parametrize("ack", ["client-individual", "client", "auto"])
def test_one_that_fails_too_often_becomes_a_dead_letter(start, server, ack):
    notes = Notes(fail)
    with Broker(server=server) as broker, patient(broker) as publisher:
        worker = Worker(broker.url, retry_delay=0.001, max_redeliveries=3, dead_letter="/queue/failed")
        worker.subscribe("/queue/a", ack=ack)(notes)
        running = start(worker)
        message_id = publisher.send("/queue/a", {"id": 7}, {"tenant": "x"})
        (letter,) = broker.wait_for("/queue/failed")
        assert settled(broker)
        assert len(notes.messages) == 4
        assert letter.body == b'{"id":7}'
        assert letter.headers["x-message-id"] == message_id
        assert letter.headers["tenant"] == "x"
        assert letter.headers["content-type"] == "application/json"
        assert letter.headers["original-destination"] == "/queue/a"
        assert letter.headers["x-error"] == "LookupError: the shelf is empty"
        assert letter.headers["x-failures"] == "4"
        assert letter.headers["persistent"] == "true"
        running.stop()
        assert worker.stats().dead_lettered == 1


def test_other_messages_are_handled_meanwhile(broker, publisher, start):
    def handle(message):
        if message.payload == "bad":
            raise LookupError

    notes = Notes(handle)
    worker = Worker(broker.url, concurrency=1, retry_delay=0.05, max_redeliveries=2)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", "bad")
    publisher.send_many([("/queue/a", number) for number in range(20)])
    notes.wait(23)
    broker.wait_for("/queue/DLQ")
    assert notes.payloads.count("bad") == 3
    assert settled(broker)


def test_the_original_is_acknowledged_only_after_the_dead_letter_was_confirmed(broker, publisher, start, monkeypatch):
    receipts, awaited = Session.receipts_in_order, threading.Event()

    def noted(session, *asked):
        if threading.current_thread() is not threading.main_thread():  # the worker's, not the publisher's
            awaited.set()
        return receipts(session, *asked)

    monkeypatch.setattr(Session, "receipts_in_order", noted)
    clock = Clock(monkeypatch)
    broker.faults.delay(3600, "SEND", after=1)
    worker = Worker(broker.url, concurrency=2, max_redeliveries=0, heart_beat=(0, 0), timeout=PATIENCE)
    worker.subscribe("/queue/a")(Notes(lambda message: fail(message) if message.payload == "bad" else None))
    start(worker)
    publisher.send("/queue/a", "bad")
    broker.wait_for("/queue/DLQ")
    assert awaited.wait(PATIENCE)
    publisher.send("/queue/a", "good")
    assert broker.wait_until(lambda: broker.received("ACK") == 1)
    assert [frame.body for frame in broker.unacknowledged("/queue/a")] == [b'"bad"']
    clock.forward(broker, 3600)
    assert settled(broker)
    assert len(broker.messages("/queue/DLQ")) == 1


def test_a_message_without_a_confirmed_dead_letter_stays_unacknowledged_and_comes_to_the_next_worker(start, caplog):
    with Broker(denied=("/queue/DLQ",)) as broker, patient(broker) as publisher:
        worker = Worker(broker.url, max_redeliveries=0, retry_delay=0.001)
        worker.subscribe("/queue/a")(Notes(fail))
        running = start(worker)
        publisher.send("/queue/a", 1)
        # The letter is tried again and again.
        assert broker.wait_until(lambda: broker.received("SEND") >= 1 + 3)
        assert len(broker.unacknowledged("/queue/a")) == 1
        assert running.stop() == 0
        assert "stays unacknowledged" in caplog.text
        notes = Notes()
        other = Worker(broker.url)
        other.subscribe("/queue/a")(notes)
        start(other)
        assert notes.wait(1)[0].redelivered


def test_a_rejected_message_becomes_a_dead_letter_at_once(broker, publisher, start):
    def handle(message):
        raise Reject("no such customer")

    notes = Notes(handle)
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", 1)
    assert broker.wait_for("/queue/DLQ")[0].headers["x-error"] == "Reject: no such customer"
    assert len(notes.messages) == 1


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_handler_raises_ends_no_thread(broker, publisher, start, raised):
    def handle(message):
        if message.payload == "end":
            raise raised

    notes = Notes(handle)
    worker = Worker(broker.url, concurrency=1, max_redeliveries=0)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", "end")
    publisher.send("/queue/a", "after")
    notes.wait(2)
    assert worker.is_alive
    assert type(raised).__name__ in broker.wait_for("/queue/DLQ")[0].headers["x-error"]


def test_the_log_has_the_handler_s_traceback_and_not_the_body(broker, publisher, start, caplog):
    caplog.set_level(logging.DEBUG)
    worker = Worker(broker.url, max_redeliveries=0)
    worker.subscribe("/queue/a")(fail)
    start(worker)
    message_id = publisher.send("/queue/a", {"card": "4111-1111"})
    broker.wait_for("/queue/DLQ")
    assert settled(broker)
    assert 'raise LookupError("the shelf is empty")' in caplog.text
    assert message_id in caplog.text
    assert "executors.py" not in caplog.text  # our own frames are of no use to a reader
    assert "4111" not in caplog.text


def test_an_error_with_odd_characters_fits_into_a_header(broker, publisher, start):
    def handle(message):
        raise LookupError("two\nlines\0and a NUL, and long: " + "x" * 5000)

    worker = Worker(broker.url, max_redeliveries=0)
    worker.subscribe("/queue/a")(handle)
    start(worker)
    publisher.send("/queue/a", 1)
    error = broker.wait_for("/queue/DLQ")[0].headers["x-error"]
    assert error.startswith("LookupError: two lines")
    assert len(error) <= 500


def test_a_sender_cannot_forge_a_line_of_the_log(broker, publisher, start, caplog):
    def handle(message):
        raise LookupError("also\x1b[2Jhere")

    worker = Worker(broker.url, max_redeliveries=0)
    worker.subscribe("/queue/a")(handle)
    start(worker)
    publisher.send("/queue/a", 1, {"x-message-id": "evil\nLOG forged \x1b[2J"})
    broker.wait_for("/queue/DLQ")
    assert settled(broker)
    ours = [record.getMessage() for record in caplog.records if record.name == "stomp_web.worker"]
    assert any("evil" in line for line in ours)
    for line in ours:
        first = line.partition("Traceback")[0]
        assert "\x1b" not in first
        assert "\nLOG" not in first


def test_a_header_that_we_could_not_write_is_told_plainly_in_the_dead_letter(start):
    """From a peer that ends header lines with CR LF in STOMP 1.1: a value ends with a CR, for which 1.1 has no form."""
    told = []

    def to_the_reader(peer):
        peer.accept("1.1")
        peer.receipt(peer.expect("SUBSCRIBE"))
        head = b"MESSAGE\ndestination:/queue/a\nmessage-id:1\nsubscription:worker-1\ncorrelation-id:value\r\n"
        peer.write(head + b"odd:\r\n\nbody\0")
        told.append(peer.expect("ACK"))
        peer.serve()

    def to_the_sender(peer):
        peer.accept("1.1")
        letter = peer.expect("SEND")
        told.append(letter)
        peer.receipt(letter)
        peer.serve()

    with Server(to_the_reader, to_the_sender) as server:
        worker = Worker(server.url, concurrency=1, max_redeliveries=0, heart_beat=(0, 0))
        worker.subscribe("/queue/a")(Notes(fail))
        running = start(worker)
        assert eventually(lambda: len(told) == 2)
        assert worker.is_alive
        running.stop()
    letter, ack = told
    assert (letter.body, letter.headers["correlation-id"]) == (b"body", "value\\r")
    assert "odd" not in letter.headers
    assert ack.headers["message-id"] == "1"


def test_a_dead_letter_that_is_refused_is_sent_again_with_harmless_headers_only(broker, publisher, start):
    """RabbitMQ refuses a message for more headers than one could name here."""
    broker.faults.error("SEND", "PRECONDITION_FAILED", after=1)
    worker = Worker(broker.url, max_redeliveries=0, retry_delay=0.001)
    worker.subscribe("/queue/a")(fail)
    start(worker)
    publisher.send("/queue/a", 1, {"x-odd": "no", "user-id": "somebody", "x-message-id": "mine"})
    (letter,) = broker.wait_for("/queue/DLQ")
    assert settled(broker)
    assert letter.headers["x-message-id"] == "mine"
    assert letter.headers["x-error"] == "LookupError: the shelf is empty"
    assert not {"x-odd", "user-id"} & set(letter.headers)


def test_a_dead_letter_that_an_administrator_interrupts_keeps_its_headers(broker, publisher, start):
    """RabbitMQ 3.10 and 4.3 send this ERROR to everybody when an administrator closes the connections."""
    broker.faults.error("SEND", "AMQP channel died", "Reason: {shutdown, ...}", receipt_id=False, after=1)
    worker = Worker(broker.url, max_redeliveries=0, retry_delay=0.001)
    worker.subscribe("/queue/a")(fail)
    start(worker)
    publisher.send("/queue/a", 1, {"x-odd": "yes", "x-message-id": "mine"})
    (letter,) = broker.wait_for("/queue/DLQ")
    assert settled(broker)
    assert (letter.headers["x-message-id"], letter.headers["x-odd"]) == ("mine", "yes")


def test_the_user_id_of_another_is_not_that_of_a_dead_letter(broker, publisher, start):
    worker = Worker(broker.url, max_redeliveries=0)
    worker.subscribe("/queue/a")(fail)
    start(worker)
    publisher.send("/queue/a", 1, {"user-id": "somebody", "x-odd": "yes"})
    (letter,) = broker.wait_for("/queue/DLQ")
    assert "user-id" not in letter.headers
    assert letter.headers["x-odd"] == "yes"


def test_an_unknown_broker_gets_no_nack(start):
    """Some take it for the message's end, and some answer it with an ERROR."""
    notes = Notes(lambda message: fail(message) if not message.failures else None)
    with Broker(server="Unknown/1.0") as broker, patient(broker) as publisher:
        worker = Worker(broker.url, retry_delay=0.001)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1)
        assert [message.redelivered for message in notes.wait(2)] == [False, True]
        assert settled(broker)
        assert broker.received("NACK") == 0


class TestWhatAQuorumQueueCounts:
    """RabbitMQ 3.10.8 sends x-delivery-count; 4.3.6 x-acquired-count, and the other one for lost connections only."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"x-delivery-count": "3"},
            {"x-acquired-count": "3"},
            {"x-acquired-count": "3", "x-delivery-count": "1"},
            {"x-acquired-count": "1", "x-delivery-count": "3"},
        ],
    )
    def test_it_counts_as_failures_of_earlier_workers(self, start, headers):
        """The development broker sends the headers as the message has them, and so they stand for the broker's."""
        notes = Notes(fail)
        with Broker(server="RabbitMQ/4.3.6") as broker, patient(broker) as publisher:
            publisher.send("/queue/a", 1, {**headers, "tenant": "x"})
            with QueueingDuplexClient.from_url(broker.url) as client:  # it takes the message, and is gone
                client.connect()
                client.subscribe("/queue/a", ack="client-individual")
                assert client.receive(PATIENCE)
            worker = Worker(broker.url, max_redeliveries=4, retry_delay=0.001)
            worker.subscribe("/queue/a")(notes)
            start(worker)
            (letter,) = broker.wait_for("/queue/DLQ")
            assert [message.failures for message in notes.messages] == [3, 4]
            assert letter.headers["x-failures"] == "5"
            assert letter.headers["tenant"] == "x"
            assert not {"x-acquired-count", "x-delivery-count"} & set(letter.headers)

    def test_at_the_first_delivery_such_a_header_is_the_sender_s(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1, {"x-acquired-count": "7", "x-delivery-count": "9"})
        (message,) = notes.wait(1)
        assert (message.failures, message.redelivered) == (0, False)


class TestDeadLettersAreHandled:
    def test_by_a_worker_with_another_dead_letter_destination(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(broker.url, dead_letter="/queue/hopeless")
        worker.subscribe("/queue/DLQ", accept=())(notes)
        start(worker)
        with PublishClient(*broker.address) as client:
            client.send("/queue/DLQ", b"{broken", content_type="application/json")
        (message,) = notes.wait(1)
        assert message.payload == message.body == b"{broken"

    def test_but_not_in_a_circle(self, broker):
        worker = Worker(broker.url)
        worker.subscribe("/queue/DLQ")(Notes())
        with pytest.raises(ConfigurationError, match="another dead_letter"):
            worker.run()


class TestAround:
    def test_it_is_entered_around_each_message(self, broker, publisher, start):
        import contextlib

        steps = []

        @contextlib.contextmanager
        def around():
            steps.append("before")
            try:
                yield
            finally:
                steps.append("after")

        def handle(message):
            steps.append(message.payload)
            if message.payload == "bad":
                raise LookupError

        worker = Worker(broker.url, concurrency=1, around=around, max_redeliveries=0)
        worker.subscribe("/queue/a")(handle)
        start(worker)
        publisher.send("/queue/a", "good")
        publisher.send("/queue/a", "bad")
        broker.wait_for("/queue/DLQ")
        assert steps == ["before", "good", "after", "before", "bad", "after"]


class TestDuplicates:
    def test_a_copy_of_a_handled_message_is_acknowledged_and_not_handled(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(broker.url, concurrency=1, deduplicate=10)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        for payload in ("first", "copy"):
            publisher.send("/queue/a", payload, {"x-message-id": "one"})
        publisher.send("/queue/a", "other")
        notes.wait(2)
        assert settled(broker)
        assert notes.payloads == ["first", "other"]
        assert worker.stats().duplicates == 1

    def test_without_it_a_copy_is_handled(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        for payload in ("first", "copy"):
            publisher.send("/queue/a", payload, {"x-message-id": "one"})
        notes.wait(2)

    def test_the_window_is_bounded(self, broker, publisher, start):
        notes = Notes()
        worker = Worker(broker.url, concurrency=1, deduplicate=2)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        for message_id in ("1", "2", "3", "1", "3"):
            publisher.send("/queue/a", message_id, {"x-message-id": message_id})
        notes.wait(4)
        assert settled(broker)
        assert notes.payloads == ["1", "2", "3", "1"]

    @pytest.mark.parametrize("first_fails", [False, True])
    def test_a_copy_waits_while_the_first_is_being_handled(self, broker, publisher, start, first_fails):
        release = threading.Event()

        def handle(message):
            if message.payload == "first" and not message.failures:
                release.wait(PATIENCE)
                if first_fails:
                    raise LookupError

        notes = Notes(handle)
        worker = Worker(broker.url, concurrency=4, deduplicate=10, retry_delay=0.2)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", "first", {"x-message-id": "one"})
        notes.wait(1)
        publisher.send("/queue/a", "copy", {"x-message-id": "one"})
        publisher.send("/queue/a", "other")
        notes.wait(2)
        assert notes.payloads == ["first", "other"]
        release.set()
        assert settled(broker)
        # Whichever is first after the failure is handled, and the other one is its duplicate.
        assert notes.payloads[2:] in ([["copy"], ["first"]] if first_fails else [[]])
        assert worker.stats().duplicates == 1

    def test_each_handler_of_a_topic_gets_its_copy(self, broker, publisher, start):
        one, two = Notes(lambda message: fail(message) if not message.failures else None), Notes()
        worker = Worker(broker.url, deduplicate=10, retry_delay=0.2)
        worker.subscribe("/topic/a")(one)
        worker.subscribe("/topic/a")(two)
        start(worker)
        publisher.send("/topic/a", 1)
        one.wait(2)
        assert [(message.redelivered, message.failures) for message in two.wait(1)] == [(False, 0)]
        assert worker.stats().duplicates == 0

    def test_a_message_that_failed_may_come_again(self, broker, publisher, start):
        notes = Notes(lambda message: fail(message) if not message.failures else None)
        worker = Worker(broker.url, deduplicate=10, retry_delay=0.001)
        worker.subscribe("/queue/a")(notes)
        start(worker)
        publisher.send("/queue/a", 1)
        notes.wait(2)
        assert settled(broker)


def test_recursion_in_a_handler_is_a_failure_like_any_other(broker, publisher, start):
    def forever(message):
        return forever(message)

    worker = Worker(broker.url, max_redeliveries=0)
    worker.subscribe("/queue/a")(forever)
    start(worker)
    publisher.send("/queue/a", 1)
    assert "RecursionError" in broker.wait_for("/queue/DLQ")[0].headers["x-error"]
    assert sys.getrecursionlimit() > 100
    assert worker.is_alive
