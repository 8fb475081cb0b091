"""The contract, receiving: what a SUBSCRIBE may ask for, durable subscriptions, and the end of a subscription."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    QueueingDuplexClient,
    StompError,
)
from stomp_web.connection.dialect import choose_dialect
from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    VERSIONS,
    check_that_all_was_taken,
    receiver,
    send_three,
    send_to_a_topic_that_was_left,
    take,
    what_is_left,
)
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.running import RunningBroker


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[QueueingDuplexClient]:
    """Our client, connected; its loop does not run."""
    with receiver(broker) as client:
        yield client


# What a SUBSCRIBE may ask for.


def test_a_selector_leaves_the_other_messages_in_the_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "selectors")
    for body, colour in (("one", "red"), ("two", "blue"), ("three", "red")):
        writer.send(destination, body, {"colour": colour})
    with receiver(broker) as client:
        client.subscribe(destination, ack="client-individual", headers={"selector": "colour = 'red'"})
        for wanted in (b"one", b"three"):
            frame = take(client)
            assert frame.body == wanted
            client.ack(frame)
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"two", False)]


def test_a_selector_may_have_what_must_be_escaped(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    needs(broker, "selectors")
    colour = "dark: r\\ed\nor größer"
    client.subscribe(destination, headers={"selector": f"colour = '{colour}'"})
    writer.send(destination, "other", {"colour": "dark"})
    writer.send(destination, "this one", {"colour": colour})
    assert take(client).body == b"this one"


def test_with_a_prefetch_of_one_a_second_receiver_gets_the_rest(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    headers = choose_dialect(client.server).prefetch(1)
    assert headers
    send_three(writer, destination)
    client.subscribe(destination, ack="client", headers=headers)
    first = take(client)
    with ForeignClient(broker) as other:
        other.subscribe(destination)
        rest = [other.get().body for _ in range(2)]
    assert first.body == b"one"
    assert rest == [b"two", b"three"]
    client.ack(first)
    client.disconnect()
    check_that_all_was_taken(broker, writer, destination, b"three")


def test_with_a_prefetch_of_one_an_ack_brings_the_next_message(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    headers = choose_dialect(client.server).prefetch(1)
    assert headers
    send_three(writer, destination)
    client.subscribe(destination, ack="client", headers=headers)
    for body in (b"one", b"two", b"three"):
        frame = take(client)
        assert frame.body == body
        assert client.message_queue.empty()
        client.ack(frame)
    client.disconnect()
    assert what_is_left(broker, writer, destination) == []


# Durable subscriptions.


class Subscriber:
    """A client with a durable subscription to a topic, which comes and goes."""

    def __init__(self, broker: RunningBroker, topic: str) -> None:
        needs(broker, "durable")
        assert broker.traits.durable is not None
        self.broker = broker
        self.topic = topic
        self.name = f"durable-{uuid.uuid4().hex}"
        self.way = broker.traits.durable.named(self.name)

    @contextmanager
    def here(self, ack: str = "auto") -> Iterator[QueueingDuplexClient]:
        """The client of the subscriber, subscribed while the block runs."""
        with receiver(self.broker, connect_headers=self.way.connect) as client:
            client.subscribe(self.topic, id=self.name, ack=ack, headers=self.way.subscribe)
            yield client

    def leave_for_good(self, client: QueueingDuplexClient) -> None:
        for headers in self.way.unsubscribe:
            client.unsubscribe(self.name, headers=headers)

    def come_and_leave_for_good(self) -> None:
        """End the subscription. ActiveMQ-Artemis/2.40.0 may refuse this while it still ends the session before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.here() as client:
                    self.leave_for_good(client)
            except StompError:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.5)
            else:
                return


@pytest.fixture
def subscriber(broker: RunningBroker, topic: str) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, topic)
    yield subscriber
    subscriber.come_and_leave_for_good()


def test_a_durable_subscriber_gets_what_was_sent_while_he_was_away(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here(ack="client"):  # what a broker still gives to the session before comes back
        pass
    send_three(writer, topic)
    with subscriber.here() as client:
        bodies = [take(client).body for _ in range(3)]
        if not subscriber.broker.traits.gives_back_in_order:
            bodies.sort(key=[b"one", b"two", b"three"].index)
        assert bodies == [b"one", b"two", b"three"]
        writer.send(topic, "four")
        assert take(client).body == b"four"


def test_a_durable_subscriber_does_not_get_twice_what_he_has_acknowledged(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here():
        pass
    send_three(writer, topic)
    with subscriber.here(ack="client") as client:
        frames = [take(client) for _ in range(3)]
        client.ack(frames[1])
    with subscriber.here(ack="client") as client:
        last = take(client)
        assert last.body == b"three"  # ActiveMQ/5.17.2 does not say of a topic's message that it comes again
        client.ack(last)


def test_after_a_durable_subscriber_has_left_for_good_nothing_is_kept_for_him(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here() as client:
        subscriber.leave_for_good(client)
    writer.send(topic, "unheard")
    with subscriber.here() as client:
        writer.send(topic, "heard")
        assert take(client).body == b"heard"


# The end of a subscription.


@pytest.mark.parametrize("version", VERSIONS)
def test_after_unsubscribe_messages_wait_in_the_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "unsubscribes_by_id")
    with receiver(broker, version) as client:
        identity = client.subscribe(destination)
        writer.send(destination, "before")
        assert take(client).body == b"before"
        client.unsubscribe(identity)
        writer.send(destination, "after")
        left = what_is_left(broker, writer, destination)
        if not broker.traits.acks_what_it_sends:
            left = [each for each in left if each[0] != b"before"]
        assert left == [(b"after", False)]
        assert client.message_queue.empty()


def test_after_unsubscribe_nothing_more_comes_from_a_topic(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, topic: str, destination: str
) -> None:
    identity = client.subscribe(topic)
    client.subscribe(destination)
    writer.send(topic, "before")
    assert take(client).body == b"before"
    client.unsubscribe(identity, headers={"destination": topic})
    send_to_a_topic_that_was_left(broker, topic, "unheard")
    writer.send(destination, "of the other subscription")
    assert take(client).body == b"of the other subscription"


def test_a_client_goes_on_after_it_has_unsubscribed_with_messages_on_their_way(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "unsubscribes_in_flight")
    for number in range(100):
        writer.send(destination, f"{number}")
    with receiver(broker) as client:
        identity = client.subscribe(destination, ack="client")
        client.ack(take(client))
        client.unsubscribe(identity, headers={"destination": destination})
        client.send(f"{destination}-other", b"goes on", confirm=True)
        client.subscribe(f"{destination}-other", ack="client")
        while (frame := take(client)).body != b"goes on":  # those that were on their way come first
            assert frame.headers["subscription"] == identity
        client.ack(frame)
    left = [body for body, _ in what_is_left(broker, writer, destination, at_least=99)]
    assert sorted(left) == sorted(f"{number}".encode() for number in range(1, 100))


def test_a_subscription_can_begin_again_under_the_same_id(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    for body in (b"one", b"two"):
        client.subscribe(destination, id="mine")
        writer.send(destination, body)
        frame = take(client)
        if not broker.traits.acks_what_it_sends and body == b"two" and frame.body == b"one":
            frame = take(client)  # the UNSUBSCRIBE gave the first one back
        assert (frame.body, frame.headers["subscription"]) == (body, "mine")
        client.unsubscribe("mine", headers={"destination": destination})
