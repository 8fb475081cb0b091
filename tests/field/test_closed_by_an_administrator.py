"""An administrator closes RabbitMQ's connections, or deletes their user, while messages are on their way.

RabbitMQ 3.10 and 4.3 answer ERROR to everybody then, and more than half of those messages are in the queue.
"""

from __future__ import annotations

import contextlib
import threading
import typing
import uuid

import pytest

from stomp_web import DeliveryUnknown, Message, MessageError, NotSent, PublishClient, Publisher, QueueingDuplexClient
from tests.brokers.rabbitmq import RabbitMQ
from tests.brokers.running import PATIENCE
from tests.faults.load import CONFIRMED, Load, drain

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def queue() -> str:
    return f"/queue/administrator-{uuid.uuid4().hex}"


@pytest.fixture
def close_connections(rabbitmq: RabbitMQ) -> typing.Callable[[], object]:
    return lambda: rabbitmq.control("close_all_connections", "maintenance")


@pytest.fixture
def user(rabbitmq: RabbitMQ) -> typing.Iterator[str]:
    name = f"user-{uuid.uuid4().hex[:8]}"
    add_user(rabbitmq, name)
    yield name
    with contextlib.suppress(Exception):  # one test has deleted it
        rabbitmq.control("delete_user", name)


def add_user(rabbitmq: RabbitMQ, name: str) -> None:
    rabbitmq.control("add_user", name, name)
    rabbitmq.control("set_permissions", "-p", "/", name, ".*", ".*", ".*")


@pytest.mark.parametrize("resend", [False, True])
def test_no_message_on_its_way_is_said_to_be_rejected(rabbitmq, queue, close_connections, resend):
    with Publisher(rabbitmq.url, resend_unknown=resend) as publisher:
        load = Load(publisher, queue, threads=8, pace=0.002)
        with load.running():
            for _ in range(3):
                load.confirm_more(200)
                close_connections()
            load.confirm_more(200)
            load.stop()
    load.check(drain(rabbitmq, queue), resent=resend)
    assert set(load.counts) <= {CONFIRMED, "NotSent", *(() if resend else ("DeliveryUnknown",))}, load.counts


def test_no_message_of_a_user_who_is_deleted_is_said_to_be_rejected(rabbitmq, queue, user):
    with Publisher(rabbitmq.address(login=user, passcode=user)) as publisher:
        load = Load(publisher, queue, threads=8, pace=0.002)
        with load.running():
            load.confirm_more(200)
            rabbitmq.control("delete_user", user)
            load.fail_more(8)
            load.stop()
    load.check(drain(rabbitmq, queue))
    assert set(load.counts) <= {CONFIRMED, "NotSent", "DeliveryUnknown"}, load.counts


def test_of_a_batch_the_confirmed_ones_are_told_and_the_others_are_unknown(rabbitmq, queue, close_connections):
    """Batches that are large enough for the end to come in the middle of one."""
    batches = [[Message(queue, b"x", {"x-message-id": f"{batch}-{n}"}) for n in range(300)] for batch in range(3_000)]
    failures: list[tuple[list[Message], MessageError]] = []
    confirmed: list[str] = []
    began, over = threading.Event(), threading.Event()

    def send() -> None:
        with contextlib.closing(PublishClient.from_url(rabbitmq.url)) as client:
            for batch in batches:
                if over.wait(0.02):
                    return
                try:
                    client.send_many(batch, confirm=True)
                except MessageError as error:
                    failures.append((batch, error))
                    over.set()
                else:
                    confirmed.extend(message.id for message in batch)
                began.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert began.wait(PATIENCE)
        while not over.wait(0.2) and thread.is_alive():
            close_connections()
    finally:
        over.set()
        thread.join(PATIENCE)
    assert failures, "no batch was on its way when the connections were closed"
    there = set(drain(rabbitmq, queue))
    assert set(confirmed) <= there
    for batch, error in failures:
        assert isinstance(error, NotSent | DeliveryUnknown)
        assert {batch[position].id for position in error.confirmed} <= there


def test_a_transaction_is_committed_or_unknown_or_not_sent(rabbitmq, queue, close_connections):
    outcomes: list[tuple[str, MessageError | None]] = []
    began, over = threading.Event(), threading.Event()

    def send(thread: int) -> None:
        with contextlib.closing(PublishClient.from_url(rabbitmq.url)) as client:
            for number in range(1_000_000):
                if over.wait(0.002):  # so that the broker has time for its administrator
                    return
                error: MessageError | None = None
                try:
                    with client.transaction() as tx:
                        tx.send(queue, b"x", {"x-message-id": f"{thread}-{number}"})
                except MessageError as raised:
                    error = raised
                outcomes.append((f"{thread}-{number}", error))
                if len(outcomes) > 60:
                    began.set()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        assert began.wait(PATIENCE)
        for _ in range(3):
            close_connections()
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    there = set(drain(rabbitmq, queue))
    assert {ident for ident, error in outcomes if error is None} <= there
    for ident, error in outcomes:
        assert error is None or isinstance(error, DeliveryUnknown | NotSent), error
        assert not isinstance(error, NotSent) or ident not in there


def test_a_client_that_receives_learns_that_the_connection_has_ended(rabbitmq, queue, close_connections):
    with contextlib.closing(QueueingDuplexClient.from_url(rabbitmq.url)) as client:
        client.connect()
        client.subscribe(queue)
        close_connections()
        with pytest.raises(DeliveryUnknown, match="AMQP channel died") as failure:
            client.receive()
        assert failure.value.frame is not None
