"""What only Artemis does: routing types, duplicate detection, windows in bytes, ACKs outside of transactions."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest

from stomp_web import InvalidFrame, PublishClient, Publisher, QueueingDuplexClient
from stomp_web.worker import Worker
from tests.brokers.running import PATIENCE
from tests.client.scripted import eventually
from tests.faults.proxy import DOWN, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from stomp_web.protocol import Frame
    from tests.brokers.artemis import Artemis


@pytest.fixture
def queue() -> str:
    return f"/queue/artemis-{uuid.uuid4().hex}"


@pytest.fixture
def topic() -> str:
    return f"/topic/artemis-{uuid.uuid4().hex}"


def receive(url: str, destination: str, count: int = 1) -> list[Frame]:
    """The next messages at *destination*, acknowledged, and one more if there is one: at most *count* are expected."""
    with QueueingDuplexClient.from_url(url) as client:
        client.subscribe(destination, ack="client-individual")
        frames = []
        while (frame := client.receive(PATIENCE if len(frames) < count else 0.3)) is not None:
            client.ack(frame)
            frames.append(frame)
        client.disconnect()
    return frames


@pytest.fixture
def plain(artemis: Artemis) -> str:
    """The address of an acceptor without prefixes, as `artemis create` makes it."""
    return artemis.address(port=artemis.plain_port)


class TestDestinationsWithoutPrefixes:
    def test_a_queue_keeps_what_was_sent_before_its_first_subscription(self, plain: str, queue: str) -> None:
        with Publisher(plain) as publisher:
            publisher.send(queue, "kept")
        assert [frame.body for frame in receive(plain, queue)] == [b'"kept"']

    def test_so_does_a_batch_a_transaction_and_a_plain_client(self, plain: str, queue: str) -> None:
        with Publisher(plain) as publisher, publisher.batch() as batch:
            for number in range(3):
                batch.send(queue, number)
        with PublishClient.from_url(plain) as client:
            client.send(queue, "3", confirm=True)
            with client.transaction() as transaction:
                transaction.send(queue, "4")
        with QueueingDuplexClient.from_url(plain) as client:
            client.send(queue, b"5", confirm=True)
        assert [frame.body for frame in receive(plain, queue, 6)] == [b"0", b"1", b"2", b"3", b"4", b"5"]

    def test_two_receivers_of_a_queue_share_it_also_if_they_came_first(self, plain: str, queue: str) -> None:
        with QueueingDuplexClient.from_url(plain) as one, QueueingDuplexClient.from_url(plain) as other:
            one.subscribe(queue)
            other.subscribe(queue)
            with Publisher(plain) as publisher:
                for number in range(4):
                    publisher.send(queue, number)
            got = [client.receive(PATIENCE) for client in (one, one, other, other)]
        assert sorted(frame.body for frame in got if frame is not None) == [b"0", b"1", b"2", b"3"]

    def test_every_subscriber_of_a_topic_gets_everything(self, plain: str, topic: str) -> None:
        with QueueingDuplexClient.from_url(plain) as one, QueueingDuplexClient.from_url(plain) as other:
            one.subscribe(topic)
            other.subscribe(topic)
            with Publisher(plain) as publisher:
                publisher.send(topic, 1)
            for client in (one, other):
                frame = client.receive(PATIENCE)
                assert frame is not None
                assert frame.body == b"1"

    def test_the_callers_own_type_wins(self, plain: str, queue: str) -> None:
        with QueueingDuplexClient.from_url(plain) as client:
            client.subscribe(queue, headers={"subscription-type": "MULTICAST"})
            client.send(queue, b"x", {"destination-type": "MULTICAST"}, confirm=True)
            assert client.receive(PATIENCE) is not None


class TestDuplicates:
    def test_what_is_sent_again_on_purpose_under_the_same_id_arrives(self, artemis: Artemis, queue: str) -> None:
        with Publisher(artemis.url) as publisher:
            message_id = publisher.send(queue, "first")
            publisher.send(queue, "again", {"x-message-id": message_id})
        with Publisher(artemis.url, resend_unknown=True) as stubborn:
            stubborn.send(queue, "once more", {"x-message-id": message_id})
        assert [frame.body for frame in receive(artemis.url, queue, 3)] == [b'"first"', b'"again"', b'"once more"']

    @pytest.mark.parametrize("way", ["one", "batch"])
    def test_what_resend_unknown_sends_twice_arrives_once(self, artemis: Artemis, queue: str, way: str) -> None:
        with (
            Proxy(artemis.host, artemis.port) as proxy,
            Publisher(artemis.address(port=proxy.port), resend_unknown=True) as publisher,
        ):
            # Not before the receipt: of two copies that come in the same millisecond, over two connections,
            # ActiveMQ-Artemis/2.40.0 takes both.
            proxy.on_frame("RECEIPT", "cut", way=DOWN, forward=False)
            if way == "one":
                publisher.send(queue, 0)
            else:
                publisher.send_many([(queue, 0), (queue, 1)])
        expected = [b"0"] if way == "one" else [b"0", b"1"]
        assert [frame.body for frame in receive(artemis.url, queue, len(expected))] == expected


class TestWorker:
    @pytest.fixture
    def run(self, artemis: Artemis) -> Iterator[Any]:
        running: list[tuple[Worker, threading.Thread]] = []

        def run(worker: Worker) -> None:
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            running.append((worker, thread))

        yield run
        for worker, thread in running:
            worker.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()

    @pytest.mark.parametrize("kind", ["/queue/", "/topic/"])
    def test_a_dead_letter_is_in_its_queue_and_can_be_sent_back(self, artemis: Artemis, run: Any, kind: str) -> None:
        source, dead = f"{kind}{uuid.uuid4().hex}", f"/queue/{uuid.uuid4().hex}"
        worker = Worker(artemis.url, dead_letter=dead, max_redeliveries=0)
        subscribed = threading.Event()

        @worker.subscribe(source)
        def fail(message: Any) -> None:
            if message.payload == "are you there?":
                subscribed.set()
            else:
                raise LookupError("the handler's own")

        run(worker)
        with Publisher(artemis.url, resend_unknown=True) as publisher:
            for _ in range(round(PATIENCE / 0.1)):
                publisher.send(source, "are you there?")
                if subscribed.wait(0.1):
                    break
            message_id = publisher.send(source, {"id": 7})
            (letter,) = receive(artemis.url, dead)
            assert letter.headers["x-message-id"] == message_id
            assert letter.headers["original-destination"] == source
            publisher.send(dead, {"id": 7}, {"x-message-id": message_id})
        assert len(receive(artemis.url, dead)) == 1

    def test_large_messages_are_handled_side_by_side(self, artemis: Artemis, run: Any, queue: str) -> None:
        """Artemis sends no message while those that are not acknowledged have more bytes than its window, 10 KiB."""
        together = threading.Barrier(4)
        worker = Worker(artemis.url, concurrency=4)

        @worker.subscribe(queue)
        def meet(message: Any) -> None:
            together.wait(PATIENCE)

        with Publisher(artemis.url) as publisher:
            for _ in range(4):
                publisher.send(queue, "x" * 9_000)
        run(worker)
        assert eventually(lambda: worker.stats().handled == 4, PATIENCE)


def test_an_ack_in_a_transaction_is_refused_as_artemis_would_not_wait_for_the_commit(
    artemis: Artemis, queue: str
) -> None:
    with QueueingDuplexClient.from_url(artemis.url, confirm=True) as client:
        client.send(queue, b"question")
        client.subscribe(queue, ack="client-individual")
        frame = client.receive(PATIENCE)
        assert frame is not None
        transaction = client.begin()
        for answer in (client.ack, client.nack):
            with pytest.raises(InvalidFrame, match="not with the transaction"):
                answer(frame, transaction=transaction)
        client.abort(transaction)
        client.disconnect()
    assert [frame.body for frame in receive(artemis.url, queue)] == [b"question"]
