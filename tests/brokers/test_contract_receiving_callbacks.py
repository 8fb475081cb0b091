"""The contract, receiving: `PublishSubscribeClient` and its callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    PublishSubscribeClient,
)
from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    listening,
    options_for,
    send_three,
    send_to_a_topic_that_was_left,
    what_is_left,
)
from tests.brokers.traits import needs
from tests.client.scripted import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web import Frame
    from tests.brokers.running import RunningBroker


class Notebook:
    """What a callback was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, frame: Frame) -> None:
        self.bodies.append(frame.body)


@pytest.fixture
def calling(broker: RunningBroker) -> Iterator[PublishSubscribeClient]:
    """Our client with callbacks; its loop runs."""
    client = PublishSubscribeClient.from_url(broker.url, **options_for(broker, None, {}))
    with listening(client):
        yield client


def test_each_subscription_calls_its_own_function(
    calling: PublishSubscribeClient, writer: ForeignClient, destination: str, topic: str
) -> None:
    of_queue, of_topic = Notebook(), Notebook()
    calling.subscribe(destination, of_queue)
    calling.subscribe(topic, of_topic)
    for number in range(3):
        writer.send(destination, f"queue {number}")
        writer.send(topic, f"topic {number}")
    assert eventually(lambda: len(of_queue.bodies) + len(of_topic.bodies) == 6)
    assert of_queue.bodies == [b"queue 0", b"queue 1", b"queue 2"]
    assert of_topic.bodies == [b"topic 0", b"topic 1", b"topic 2"]


def test_a_callback_may_answer_and_acknowledge(
    calling: PublishSubscribeClient,
    broker: RunningBroker,
    writer: ForeignClient,
    inbox: ForeignClient,
    destination: str,
) -> None:
    questions = f"{destination}-questions"
    done: list[bytes] = []

    def answer(frame: Frame) -> None:
        calling.send(destination, b"answer to " + frame.body, confirm=True)
        calling.ack(frame)
        done.append(frame.body)

    calling.subscribe(questions, answer, ack="client")
    send_three(writer, questions)
    answers = [inbox.get().body for _ in range(3)]
    assert eventually(lambda: len(done) == 3)
    calling.disconnect()
    assert answers == [b"answer to one", b"answer to two", b"answer to three"]
    assert what_is_left(broker, writer, questions) == []


def test_a_callback_may_take_its_message_and_answer_it_in_one_transaction(
    calling: PublishSubscribeClient,
    broker: RunningBroker,
    writer: ForeignClient,
    inbox: ForeignClient,
    destination: str,
) -> None:
    needs(broker, "acks_in_transactions")
    questions = f"{destination}-questions"
    done: list[bytes] = []

    def answer(frame: Frame) -> None:
        with calling.transaction() as transaction:
            transaction.send(destination, b"answer to " + frame.body)
            calling.ack(frame, transaction=transaction.id)
        done.append(frame.body)

    calling.subscribe(questions, answer, ack="client")
    send_three(writer, questions)
    answers = [inbox.get().body for _ in range(3)]
    assert eventually(lambda: len(done) == 3)
    calling.disconnect()
    assert answers == [b"answer to one", b"answer to two", b"answer to three"]
    assert what_is_left(broker, writer, questions) == []


def test_what_a_callback_did_not_acknowledge_because_it_failed_comes_again(
    calling: PublishSubscribeClient, broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    failed: list[Exception] = []

    def note(error: Exception, frame: Frame) -> None:
        failed.append(error)

    calling.on_error = note  # type: ignore[method-assign]

    def fail(_: Frame) -> None:
        raise LookupError("the callback's own")

    calling.subscribe(destination, fail, ack="client")
    writer.send(destination, "message")
    assert eventually(lambda: failed)
    calling.disconnect()
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"message", broker.traits.says_redelivered)]


def test_a_callback_is_called_no_more_after_unsubscribe(
    broker: RunningBroker, calling: PublishSubscribeClient, writer: ForeignClient, destination: str, topic: str
) -> None:
    of_topic, of_queue = Notebook(), Notebook()
    identity = calling.subscribe(topic, of_topic)
    calling.subscribe(destination, of_queue)
    writer.send(topic, "before")
    assert eventually(lambda: of_topic.bodies)
    calling.unsubscribe(identity, headers={"destination": topic})
    send_to_a_topic_that_was_left(broker, topic, "unheard")
    writer.send(destination, "later than that")
    assert eventually(lambda: of_queue.bodies)
    assert of_topic.bodies == [b"before"]
