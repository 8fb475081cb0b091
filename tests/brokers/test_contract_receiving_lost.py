"""The contract, receiving: receivers that are gone without DISCONNECT, and brokers that are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    ConnectionLost,
    NotSent,
    QueueingDuplexClient,
    Rejected,
)
from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    VERSIONS,
    Loop,
    again,
    dying,
    receiver,
    refusals_of,
    send_three,
    take,
    what_is_left,
)
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from stomp_web import Frame
    from tests.brokers.running import RunningBroker


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_that_breaks_loses_no_message(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "many_unacknowledged")
    send_three(writer, destination)
    with dying(receiver(broker, version)) as client:
        client.subscribe(destination, ack="client")
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
    with receiver(broker, version) as successor:
        successor.subscribe(destination, ack="client")
        frames = [take(successor) for _ in range(3)]
        assert [frame.body for frame in frames] == [b"one", b"two", b"three"]
        assert again(frames[0])
        if broker.traits.says_of_all_that_were_left:
            assert all(map(again, frames))
        successor.ack(frames[-1])
    assert what_is_left(broker, writer, destination) == []


def test_what_was_acknowledged_before_the_connection_broke_does_not_come_again(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    send_three(writer, destination)
    with dying(receiver(broker)) as client:
        client.subscribe(destination, ack="client")
        for _ in range(2):
            client.ack(take(client))
        assert take(client).body == b"three"
        client.send(f"{destination}-other", b"the broker has read the ACKs", confirm=True)
    with receiver(broker) as successor:
        successor.subscribe(destination, ack="client")
        writer.send(destination, "four")  # CoilMQ/1.1.0 looks at what came back only now
        bodies = []
        for _ in range(2):
            frame = take(successor)
            bodies.append(frame.body)
            successor.ack(frame)
    assert sorted(bodies) == [b"four", b"three"]
    assert what_is_left(broker, writer, destination) == []


def test_an_ack_of_a_message_of_an_earlier_session_is_not_sent(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    writer.send(destination, "message")
    with closing(receiver(broker)) as client:
        client.connect()
        client.subscribe(destination, id="mine", ack="client")
        earlier = take(client)
        client.disconnect()
        client.connect()
        client.subscribe(destination, id="mine", ack="client")
        later = take(client)
        assert later.body == earlier.body
        with pytest.raises(NotSent):
            client.ack(earlier)
        client.ack(later)
        client.disconnect()
    assert what_is_left(broker, writer, destination) == []


def test_an_error_frame_ends_the_loop_and_wakes_waiting_threads_with_the_brokers_words(broker: RunningBroker) -> None:
    for refusal in refusals_of(broker):
        with dying(QueueingDuplexClient.from_url(refusal.url)) as client:
            loop = Loop(client)
            client.send(refusal.destination, b"refused", confirm=False)
            with pytest.raises(Rejected, match=refusal.words):
                client.message_queue.get(timeout=PATIENCE)
            assert loop.ended()
            assert isinstance(loop.error, Rejected)
            assert client.error_queue.get(timeout=PATIENCE).command == "ERROR"


def test_what_a_killed_broker_had_delivered_comes_again_after_its_restart(
    broker: RunningBroker, destination: str
) -> None:
    needs(broker, "keeps_on_disk")
    with receiver(broker) as client:
        client.subscribe(destination)
    # RabbitMQ/3.10.8 forgets one in forty queues that were made just before it was killed, with what was in them.
    broker.restart()
    with ForeignClient(broker) as writer:
        for body in ("one", "two", "three"):
            writer.send(destination, body, {"persistent": "true"})
    with dying(receiver(broker)) as client:
        client.subscribe(destination, ack="client-individual")
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
        broker.kill()
        with pytest.raises(ConnectionLost):
            client.receive(PATIENCE)
        broker.start()
        client.connect()  # a new session of the same client: the old subscription is gone
        client.subscribe(destination, ack="client-individual")
        frames = [take(client) for _ in range(3)]
        assert [frame.body for frame in frames] == [b"one", b"two", b"three"]
        assert {again(frame) for frame in frames} == {broker.traits.remembers_deliveries}
        for frame in frames:
            client.ack(frame)
        client.disconnect()
    with ForeignClient(broker) as writer:
        assert what_is_left(broker, writer, destination) == []


def test_a_lost_connection_ends_the_loop_with_connection_lost(broker: RunningBroker, destination: str) -> None:
    with dying(receiver(broker)) as client:
        client.subscribe(destination)
        loop = Loop(client)
        broker.kill()
        assert loop.ended()
        assert isinstance(loop.error, ConnectionLost)
        assert not client.connected


def test_a_lost_connection_wakes_all_threads_that_wait_for_a_message(broker: RunningBroker, destination: str) -> None:
    with dying(receiver(broker)) as client:
        client.subscribe(destination)
        loop = Loop(client)
        ready = threading.Barrier(4)

        def wait() -> Frame:
            ready.wait(PATIENCE)
            return client.message_queue.get(timeout=2 * PATIENCE)

        with ThreadPoolExecutor(3) as threads:
            waiting = [threads.submit(wait) for _ in range(3)]
            ready.wait(PATIENCE)
            broker.kill()
            for one in waiting:
                with pytest.raises(ConnectionLost):
                    one.result(PATIENCE)
        assert loop.ended()
