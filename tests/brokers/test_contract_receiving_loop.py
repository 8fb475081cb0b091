"""The contract, receiving: the loop in its thread, other threads beside it, and its heart-beats."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    Message,
    QueueingDuplexClient,
)
from tests.brokers.beats import one_survives
from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    listening,
    receiver,
    take,
    what_is_left,
)
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs
from tests.client.scripted import eventually

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker

# The loop in its thread, and others beside it.


def test_what_other_threads_send_while_the_loop_runs_arrives_once(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    client = receiver(broker)

    def send_some(thread: int) -> None:
        for number in range(25):
            client.send(destination, f"{thread}-{number}", confirm=number % 5 == 0)

    with listening(client), ThreadPoolExecutor(4) as threads:
        for sending in [threads.submit(send_some, thread) for thread in range(4)]:
            sending.result(PATIENCE)
        arrived = [inbox.get().body.decode() for _ in range(100)]
    assert sorted(arrived) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(25))
    for thread in range(4):  # and each thread's in its order
        mine = [body for body in arrived if body.startswith(f"{thread}-")]
        assert mine == [f"{thread}-{number}" for number in range(25)]


def test_messages_are_received_and_answered_while_the_loop_runs(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    questions = f"{destination}-questions"
    client = receiver(broker)
    with listening(client):
        client.subscribe(questions, ack="client")
        for number in range(20):
            writer.send(questions, f"{number}")
            frame = client.message_queue.get(timeout=PATIENCE)
            client.send(destination, b"answer " + frame.body, confirm=True)
            client.ack(frame)
    assert [inbox.get().body for _ in range(20)] == [f"answer {number}".encode() for number in range(20)]
    assert what_is_left(broker, writer, questions) == []


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_workers_that_share_a_client_take_each_message_once(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "ack_modes", "client-individual")
    needs(broker, "takes_pieces")
    count, workers = 200, 6
    taken: Counter[bytes] = Counter()
    lock = threading.Lock()
    client = receiver(broker, version, queue_size=10)

    def work() -> int:
        mine = 0
        while (frame := client.message_queue.get(timeout=PATIENCE)).body != b"stop":
            client.ack(frame)
            with lock:
                taken[frame.body] += 1
            mine += 1
        client.ack(frame)
        return mine

    with listening(client), ThreadPoolExecutor(workers) as threads:
        client.subscribe(destination, ack="client-individual")
        working = [threads.submit(work) for _ in range(workers)]
        for number in range(count):
            writer.send(destination, f"{number}")
        for _ in range(workers):
            writer.send(destination, "stop")
        done = [worker.result(PATIENCE) for worker in working]
    assert sum(done) == count
    assert taken == Counter(f"{number}".encode() for number in range(count))
    assert what_is_left(broker, writer, destination) == []


def test_a_full_queue_holds_nothing_back_for_ever(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    client = receiver(broker, queue_size=1)
    with listening(client):
        client.subscribe(destination)
        for number in range(50):
            writer.send(destination, f"{number}")
        bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(50)]
    assert bodies == [f"{number}".encode() for number in range(50)]


def test_messages_come_over_tls_though_the_queue_is_full(broker: RunningBroker, destination: str) -> None:
    needs(broker, "tls")
    authority = str(broker.certificates.authority)
    with ForeignClient(broker, tls=True) as writer:  # the development broker is another one behind that port
        address = broker.address(tls=True)
        client = QueueingDuplexClient.from_url(address, tls_ca=authority, queue_size=1)
        with listening(client):
            client.subscribe(destination)
            for number in range(50):
                writer.send(destination, f"{number}".encode() * 1000)
            bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(50)]
    assert bodies == [f"{number}".encode() * 1000 for number in range(50)]


def test_a_batch_that_is_sent_while_the_loop_runs_arrives_in_order(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    questions = f"{destination}-questions"
    client = receiver(broker)
    with listening(client):
        client.subscribe(questions)
        writer.send(questions, "question")
        assert client.message_queue.get(timeout=PATIENCE).body == b"question"
        client.send_many([Message(destination, f"{number}") for number in range(300)], confirm=True)
        writer.send(questions, "another one")
        assert client.message_queue.get(timeout=PATIENCE).body == b"another one"
    assert [inbox.get().body for _ in range(300)] == [f"{number}".encode() for number in range(300)]


def test_the_loop_ends_at_once_though_more_messages_wait_than_the_client_takes(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "many_unacknowledged")
    for number in range(100):
        writer.send(destination, f"{number}")
    client = receiver(broker, queue_size=2)
    with listening(client) as loop:
        client.subscribe(destination, ack="client")
        frame = client.message_queue.get(timeout=PATIENCE)
        client.ack(frame)
        assert eventually(client.message_queue.full)
        client.shutdown_event.set()
        assert loop.ended(PATIENCE / 2), "the DISCONNECT waits for a receipt that stands behind the messages"
    left = [body for body, _ in what_is_left(broker, writer, destination, at_least=99)]
    if not broker.traits.gives_back_in_order:
        left.sort(key=int)
    assert left == [f"{number}".encode() for number in range(1, 100)]


# Heart-beats.


def test_heart_beats_keep_an_idle_connection_open_while_the_loop_runs(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")

    def check(beat: int, idle: float) -> None:
        queue = f"{destination}-{beat}"
        client = receiver(broker, heart_beat=(beat, beat))
        with listening(client) as loop:
            client.subscribe(queue)
            sends, wants = map(int, client.connect().headers["heart-beat"].split(","))
            assert sends > 0
            assert wants > 0
            assert not loop.ended(idle), loop.error
            writer.send(queue, "still here")
            assert client.message_queue.get(timeout=PATIENCE).body == b"still here"
            client.send(f"{queue}-other", b"in both directions", confirm=True)

    one_survives(check)


def test_heart_beats_keep_an_idle_connection_open_while_receive_waits(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")

    def check(beat: int, idle: float) -> None:
        queue = f"{destination}-{beat}"
        with receiver(broker, heart_beat=(beat, beat)) as client:
            session = client.session
            client.subscribe(queue)
            assert client.receive(idle) is None
            writer.send(queue, "still here")
            assert take(client).body == b"still here"
            client.send(f"{queue}-other", b"in both directions", confirm=True)
            assert client.session == session

    one_survives(check)


def test_heart_beats_keep_the_connection_open_while_no_thread_takes_the_messages(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")

    def check(beat: int, idle: float) -> None:
        queue = f"{destination}-{beat}"
        client = receiver(broker, heart_beat=(beat, beat), queue_size=1)
        with listening(client) as loop:
            client.subscribe(queue)
            for number in range(5):
                writer.send(queue, f"{number}")
            assert not loop.ended(idle), loop.error
            bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(5)]
            client.send(f"{queue}-other", b"in both directions", confirm=True)
        assert bodies == [b"0", b"1", b"2", b"3", b"4"]

    one_survives(check)


def test_heart_beats_that_come_late_after_a_frame_are_waited_for(broker: RunningBroker, destination: str) -> None:
    needs(broker, "takes_heart_beats")

    # ActiveMQ/5.17.2 leaves a beat out where a frame came since the last one: the line is silent for twice as long.
    def check(beat: int, idle: float) -> None:
        with ExitStack() as running:
            loops = []
            for number in range(20):
                client = receiver(broker, heart_beat=(beat, beat))
                loops.append(running.enter_context(listening(client)))
                client.send(f"{destination}-{number}", b"the receipt is the frame", confirm=True)
            loops[0].ended(idle)
            assert [str(loop.error) for loop in loops if loop.ended(0)] == []

    one_survives(check)
