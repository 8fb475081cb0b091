"""What a handler gets, how many run at a time, and what their return means."""

from __future__ import annotations

import json
import threading

import pytest

from stomp_web import PublishClient
from stomp_web.broker import Broker
from stomp_web.worker import Handlers, Worker
from tests.worker.running import PATIENCE, Notes, own_threads, patient, settled


def test_a_handler_gets_the_message_with_its_payload(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url)
    assert worker.subscribe("/queue/orders")(notes) is notes
    start(worker)
    message_id = publisher.send("/queue/orders", {"id": 7}, {"tenant": "a:b"})
    (message,) = notes.wait(1)
    assert message.payload == {"id": 7}
    assert message.body == b'{"id":7}'
    assert message.headers["tenant"] == "a:b"
    assert message.destination == "/queue/orders"
    assert message.id == message_id
    assert (message.redelivered, message.failures) == (False, 0)
    assert settled(broker, "/queue/orders")


def test_a_message_of_a_foreign_sender_has_the_broker_s_id(broker, start):
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    with PublishClient(*broker.address) as client:
        client.send("/queue/a", "text")
        client.send("/queue/a", b"\0bytes")
    first, second = sorted(notes.wait(2), key=lambda message: message.id)
    assert (first.payload, second.payload) == ("text", b"\0bytes")
    assert first.id == first.headers["message-id"]


def test_nothing_of_a_body_is_in_a_message_s_repr(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", {"card": "4111-1111"}, {"token": "t0ken"})
    shown = repr(notes.wait(1)[0])
    assert "/queue/a" in shown
    assert "4111" not in shown
    assert "t0ken" not in shown


def test_no_more_handlers_run_at_once_than_concurrency_says(broker, publisher, start):
    together = threading.Barrier(3)
    running, most = [0], [0]
    lock = threading.Lock()

    def handle(message):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(PATIENCE)
        with lock:
            running[0] -= 1

    notes = Notes(handle)
    worker = Worker(broker.url, concurrency=3)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send_many([("/queue/a", number) for number in range(12)])
    notes.wait(12)
    assert settled(broker)
    assert most == [3]


def test_with_concurrency_1_messages_are_handled_in_order(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url, concurrency=1)
    worker.subscribe("/queue/a")(notes)
    publisher.send_many([("/queue/a", number) for number in range(100)])
    start(worker)
    publisher.send_many([("/queue/a", number) for number in range(100, 300)])
    notes.wait(300)
    assert notes.payloads == list(range(300))


def test_each_message_is_handled_once(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send_many([("/queue/a", number) for number in range(500)])
    notes.wait(500)
    assert settled(broker)
    assert sorted(notes.payloads) == list(range(500))
    assert worker.stats().handled == 500


def test_several_destinations_each_have_their_handler(broker, publisher, start):
    orders, prices = Notes(), Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/orders")(orders)
    worker.subscribe("/topic/prices")(prices)
    start(worker)
    publisher.send("/queue/orders", 1)
    publisher.send("/topic/prices", 2)
    orders.wait(1)
    prices.wait(1)
    assert (orders.payloads, prices.payloads) == ([1], [2])


def test_handlers_can_be_collected_before_there_is_a_worker(broker, publisher, start):
    notes, handlers = Notes(), Handlers()
    handlers.subscribe("/queue/a")(notes)
    start(Worker(broker.url, handlers=handlers))
    publisher.send("/queue/a", 1)
    notes.wait(1)


def test_a_handler_may_send(broker, publisher, start):
    worker = Worker(broker.url)

    @worker.subscribe("/queue/orders")
    def confirm(message):
        publisher.send("/queue/confirmations", message.payload["id"])

    start(worker)
    publisher.send("/queue/orders", {"id": 7})
    assert [frame.body for frame in broker.wait_for("/queue/confirmations")] == [b"7"]


class TestSerializers:
    def test_what_was_signed_is_read_with_the_key(self, broker, start):
        notes = Notes()
        worker = Worker(broker.url, signing_keys=["secret"])
        worker.subscribe("/queue/a", accept=("signed-pickle",))(notes)
        start(worker)
        with patient(broker, signing_keys=["secret"]) as publisher:
            publisher.send("/queue/a", {1, 2}, serializer="signed-pickle")
        assert notes.wait(1)[0].payload == {1, 2}

    @pytest.mark.parametrize(("serializer", "accept"), [("pickle", ("json",)), ("pickle", "signed-pickle")])
    def test_what_is_not_accepted_is_not_read_and_becomes_a_dead_letter(
        self, broker, publisher, start, serializer, accept
    ):
        notes = Notes()
        worker = Worker(broker.url, signing_keys=["secret"])
        worker.subscribe("/queue/a", accept=accept)(notes)
        start(worker)
        publisher.send("/queue/a", "harmless", serializer=serializer)
        (letter,) = broker.wait_for("/queue/DLQ")
        assert "only" in letter.headers["x-error"]
        assert letter.headers["x-failures"] == "1"
        assert notes.messages == []
        assert settled(broker)

    def test_a_forged_signature_becomes_a_dead_letter(self, broker, start):
        notes = Notes()
        worker = Worker(broker.url, signing_keys=["secret"])
        worker.subscribe("/queue/a", accept=("signed-json",))(notes)
        start(worker)
        with patient(broker, signing_keys=["another"]) as publisher:
            publisher.send("/queue/a", 1, serializer="signed-json")
        assert "signature" in broker.wait_for("/queue/DLQ")[0].headers["x-error"]
        assert notes.messages == []

    def test_what_is_no_json_becomes_a_dead_letter_as_it_came(self, broker, start):
        worker = Worker(broker.url)
        worker.subscribe("/queue/a")(Notes())
        start(worker)
        with PublishClient(*broker.address) as client:
            client.send("/queue/a", b"{broken", content_type="application/json")
        (letter,) = broker.wait_for("/queue/DLQ")
        assert letter.body == b"{broken"
        assert letter.headers["content-type"] == "application/json"
        assert letter.headers["original-destination"] == "/queue/a"


class TestSubscriptions:
    def test_the_broker_is_told_how_many_to_send_ahead(self, broker, publisher, start):
        release = threading.Event()
        worker = Worker(broker.url, concurrency=1, prefetch=3)
        worker.subscribe("/queue/a")(Notes(lambda message: release.wait(PATIENCE)))
        publisher.send_many([("/queue/a", number) for number in range(10)])
        start(worker)
        assert broker.wait_until(lambda: len(broker.unacknowledged("/queue/a")) == 3)
        assert len(broker.pending("/queue/a")) == 7
        release.set()

    def test_headers_and_id_go_with_the_subscription(self, broker, start):
        worker = Worker(broker.url, connect_headers={"client-id": "shop"})
        worker.subscribe("/topic/a", id="mine", headers={"activemq.subscriptionName": "kept"})(Notes())
        running = start(worker)
        assert running.stop() == 0
        assert broker.connects[-1].headers["client-id"] == "shop"
        with patient(broker) as publisher:  # the subscription was durable: what is sent now is kept for it
            publisher.send("/topic/a", "while away")
        notes = Notes()
        again = Worker(broker.url, connect_headers={"client-id": "shop"})
        again.subscribe("/topic/a", id="mine", headers={"activemq.subscriptionName": "kept"})(notes)
        start(again)
        assert notes.wait(1)[0].payload == "while away"

    def test_ack_client_is_acknowledged_up_to_the_first_that_is_not_done(self, broker, publisher, start):
        release = threading.Event()

        def handle(message):
            if message.payload == 0:
                release.wait(PATIENCE)

        notes = Notes(handle)
        worker = Worker(broker.url, concurrency=2, prefetch=20)
        worker.subscribe("/queue/a", ack="client")(notes)
        start(worker)
        publisher.send_many([("/queue/a", number) for number in range(10)])
        notes.wait(10)
        assert len(broker.unacknowledged("/queue/a")) == 10
        assert broker.received("ACK") == 0
        release.set()
        assert settled(broker)
        assert broker.received("ACK") < 10

    def test_where_an_ack_would_stand_for_those_of_other_handlers_each_message_gets_its_own(self, start):
        """RabbitMQ 3.10: one for all before it stands for all of the connection."""
        release = threading.Event()
        slow, quick = Notes(lambda message: release.wait(PATIENCE)), Notes()
        with Broker(server="RabbitMQ/3.10.8") as broker, patient(broker) as publisher:
            worker = Worker(broker.url)
            worker.subscribe("/queue/slow")(slow)
            worker.subscribe("/queue/quick", ack="client")(quick)
            running = start(worker)
            publisher.send("/queue/slow", 0)
            slow.wait(1)
            publisher.send_many([("/queue/quick", number) for number in range(10)])
            assert settled(broker, "/queue/quick")
            assert broker.received("ACK") == 10
            release.set()
            assert running.stop() == 0

    def test_ack_auto_is_sent_before_the_handler_is_called(self, broker, publisher, start):
        release = threading.Event()
        notes = Notes(lambda message: release.wait(PATIENCE))
        worker = Worker(broker.url, concurrency=1, prefetch=5)
        worker.subscribe("/queue/a", ack="auto")(notes)
        start(worker)
        publisher.send_many([("/queue/a", number) for number in range(5)])
        notes.wait(1)
        # The one in the handler is gone from the broker; those that wait are not.
        assert broker.wait_until(lambda: len(broker.unacknowledged("/queue/a")) == 4)
        release.set()
        notes.wait(5)
        assert settled(broker)

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_older_brokers_get_their_kind_of_acknowledgement(self, start, version):
        with Broker(versions=(version,)) as broker, patient(broker) as publisher:
            notes = Notes()
            worker = Worker(broker.url)
            worker.subscribe("/queue/a")(notes)
            running = start(worker)
            publisher.send_many([("/queue/a", number) for number in range(20)])
            notes.wait(20)
            assert settled(broker)
            assert running.stop() == 0


def test_no_thread_exists_but_those_that_are_documented(broker, publisher, start):
    before = set(threading.enumerate())
    worker = Worker(broker.url, concurrency=3)
    worker.subscribe("/queue/a")(Notes())
    assert own_threads() == []
    running = start(worker)
    expected = ["stomp-worker-1", "stomp-worker-2", "stomp-worker-3", "stomp-worker-reader"]
    assert own_threads() == expected
    others = set(threading.enumerate()) - before - {running.thread}
    assert sorted(thread.name for thread in others) == expected
    running.stop()
    assert own_threads() == []


def test_a_progress_is_told(broker, publisher):
    seen = []
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(Notes())
    publisher.send("/queue/a", 1)

    def on_progress(stats):
        seen.append(stats)
        if stats.handled:
            worker.stop()

    thread = threading.Thread(target=lambda: worker.run(on_progress=on_progress))
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert seen[-1].received == seen[-1].handled == 1
    assert seen[-1].seconds > 0


def test_the_payload_is_json_of_the_body(broker, publisher, start):
    notes = Notes()
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(notes)
    start(worker)
    publisher.send("/queue/a", {"text": "ä😀", "list": [1, None, 2.5]})
    (message,) = notes.wait(1)
    assert json.loads(message.body) == message.payload == {"text": "ä😀", "list": [1, None, 2.5]}
