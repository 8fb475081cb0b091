"""Real brokers that have not enough: memory, room in the queue, rights, patience for large frames."""

from __future__ import annotations

import contextlib
import typing

import pytest

from stomp_web import (
    ConnectionLost,
    DeliveryUnknown,
    NotSent,
    Publisher,
    ReceiptTimeout,
    Rejected,
)
from tests.brokers import fleet
from tests.brokers.activemq import ActiveMQ
from tests.brokers.foreign import ForeignClient
from tests.brokers.rabbitmq import RabbitMQ
from tests.brokers.running import PATIENCE, RunningBroker
from tests.faults.clock import in_time
from tests.faults.load import Load, drain

Open = typing.Callable[..., Publisher]

REAL = pytest.mark.parametrize("broker", fleet.REAL, indirect=True)

LIMIT = 65_536
SHORT = 1.0
FILLING = 20.0
#: Long before the timeout of a call.
AT_ONCE = PATIENCE / 2


class TestMemoryAlarm:
    def test_rabbitmq_without_memory_costs_the_deadline_and_no_message(
        self, rabbitmq: RabbitMQ, queue: str, open_publisher: Open
    ):
        publisher = open_publisher(rabbitmq.url, timeout=SHORT)
        load = Load(publisher, queue, threads=8, pace=0.005)
        with load.running():
            load.confirm_more(200)
            with rabbitmq.memory_alarm():
                load.fail_more(16)
            load.confirm_more(200)
            load.stop()
        load.check(drain(rabbitmq, queue))
        assert load.counts["DeliveryUnknown"]

    def test_activemq_without_memory_costs_the_deadline_and_no_message(
        self, small_activemq: ActiveMQ, queue: str, open_publisher: Open
    ):
        # ActiveMQ/5.17.2 moves what fills one queue to its disk; the first messages of many queues stay in memory.
        publisher = open_publisher(small_activemq.url, persistent=False, serializer="bytes")
        assert publisher.check().ok
        sent: dict[str, str] = {}
        with pytest.raises(ReceiptTimeout) as failure:  # noqa: PT012 - it says so when it is full, not before
            while len(sent) < 200:
                destination = f"{queue}-{len(sent)}"
                # Long enough for the first sends to a broker that has just started; it is spent once.
                with in_time(FILLING):
                    sent[destination] = publisher.send(destination, b"x" * 50_000, timeout=FILLING)
        # No receipt for any queue, though CONNECT is answered.
        assert publisher.check().ok
        with in_time(SHORT, at_least=SHORT), pytest.raises(ReceiptTimeout):
            publisher.send(queue, b"x", timeout=SHORT)
        assert publisher.check().ok
        for destination, message_id in sent.items():
            assert drain_one(small_activemq, destination) == [message_id]
        assert failure.value.destination not in sent
        publisher.send(queue, b"there is room again")


class TestFullQueue:
    def test_a_message_for_which_there_is_no_room_is_not_confirmed(
        self, rabbitmq: RabbitMQ, queue: str, open_publisher: Open
    ):
        # RabbitMQ/3.10.8 says no with neither RECEIPT nor ERROR: the connection ends.
        publisher = open_publisher(rabbitmq.url)
        with rabbitmq.policy(f"^{queue.removeprefix('/queue/')}$", max_length=1, overflow="reject-publish"):
            first = publisher.send(queue, 1)
            for number in (2, 3):
                with in_time(AT_ONCE), pytest.raises((DeliveryUnknown, Rejected)):
                    publisher.send(queue, number)
            assert drain_one(rabbitmq, queue) == [first]
        publisher.send(queue, 4)


class TestRights:
    @REAL
    def test_a_user_who_may_not_write_is_told_so_at_once(self, broker: RunningBroker, queue: str, open_publisher: Open):
        publisher = open_publisher(broker.address(login="reader", passcode="reader"))
        for _ in range(3):
            with in_time(AT_ONCE), pytest.raises(Rejected) as rejection:
                publisher.send(queue, "x")
            assert "reader" not in repr(rejection.value.broker)
        assert drain(broker, queue) == []


@pytest.mark.parametrize("size", [LIMIT + 1, 20 * LIMIT], ids=["a little", "a lot"])
class TestLargeFrames:
    def test_rabbitmq_rejects_a_message_over_the_limit_and_takes_the_next(
        self, small_rabbitmq: RabbitMQ, queue: str, open_publisher: Open, size: int
    ):
        too_large(small_rabbitmq, queue, open_publisher, size)

    def test_activemq_rejects_a_frame_over_the_limit_and_takes_the_next(
        self, small_activemq: ActiveMQ, queue: str, open_publisher: Open, size: int
    ):
        too_large(small_activemq, queue, open_publisher, size)


def too_large(broker: RunningBroker, queue: str, open_publisher: Open, size: int) -> None:
    publisher = open_publisher(broker.url, serializer="bytes")
    sent = [publisher.send(queue, b"before")]
    # A broker that closes while the message is still being written may do it by a reset, which takes its words along.
    # What did not leave whole then was not sent.
    with in_time(AT_ONCE), pytest.raises((Rejected, ConnectionLost, NotSent)):
        publisher.send(queue, b"x" * size)
    sent.append(publisher.send(queue, b"x" * (LIMIT - 2000)))
    assert drain(broker, queue) == sent


def drain_one(broker: RunningBroker, queue: str) -> list[str]:
    """As `drain`, for a queue that takes no mark."""
    with ForeignClient(broker) as reader:
        reader.subscribe(queue)
        return [reader.get().headers["x-message-id"]]


@pytest.fixture
def small_rabbitmq(rabbitmq: RabbitMQ) -> typing.Iterator[RabbitMQ]:
    """A node that takes no message over `LIMIT`; of `rabbitmq` only its kind is asked for."""
    small = type(rabbitmq)(node="small@localhost", settings={"max_message_size": str(LIMIT)})
    with contextlib.closing(small) as broker:
        broker.start()
        yield broker


@pytest.fixture
def small_activemq(activemq: ActiveMQ) -> typing.Iterator[ActiveMQ]:
    """A broker with little memory that takes no frame over `LIMIT`; `activemq` as with `small_rabbitmq`."""
    with contextlib.closing(type(activemq)(options=[f"wireFormat.maxFrameSize={LIMIT}"], memory="2 mb")) as broker:
        broker.start()
        yield broker
