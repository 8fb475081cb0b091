"""A request with a temporary queue for its answer, over a pool: the answer went to a connection that dropped it."""

from __future__ import annotations

import typing

import pytest

from stomp_web import ConfigurationError, InvalidFrame, Message, Publisher
from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url) as publisher:
        yield publisher


TEMPORARY = pytest.mark.parametrize(
    "temporary", ["/temp-queue/a", "/temp-topic/a", "amq.rabbitmq.reply-to", "/amq/queue/amq.rabbitmq.reply-to"]
)


@TEMPORARY
def test_it_is_refused_with_the_way_out(publisher, broker, temporary):
    sends = [
        lambda: publisher.send("/queue/a", 1, reply_to=temporary),
        lambda: publisher.send("/queue/a", 1, {"reply-to": temporary}),
        lambda: publisher.prepare("/queue/a", 1, reply_to=temporary),
        lambda: publisher.batch().send("/queue/a", 1, reply_to=temporary),
        lambda: publisher.send_many([("/queue/a", 1), ("/queue/a", 1, {"reply-to": temporary})]),
        lambda: publisher.send_many([Message("/queue/a", b"x", {"reply-to": temporary})]),
    ]
    for send in sends:
        with pytest.raises(InvalidFrame, match=r"answer would be lost.*QueueingDuplexClient.*Nothing was sent"):
            send()
    assert broker.connections_accepted == 0


@TEMPORARY
def test_as_an_option_it_is_a_mistake_of_the_configuration(temporary):
    with pytest.raises(ConfigurationError, match="answer would be lost"):
        Publisher(headers={"reply-to": temporary})


@TEMPORARY
@pytest.mark.parametrize("url", ["stomp", "memory://"])
def test_a_message_to_one_is_refused_too(broker, temporary, url):
    """ActiveMQ 5.17 confirms it, and gives it to the connection that has sent it."""
    with Publisher(broker.url if url == "stomp" else url) as publisher:
        for _ in range(2):
            with pytest.raises(InvalidFrame, match=r"message would be lost"):
                publisher.send(temporary, 1)
        with pytest.raises(InvalidFrame, match=r"message would be lost"):
            publisher.send_many([Message(temporary, b"x")])


@pytest.mark.parametrize(
    "address", ["/queue/answers", "/topic/answers", "/reply-queue/amq.gen-7", "/remote-temp-queue/ID:mq-7", "answers"]
)
def test_a_queue_of_another_client_may_be_named_and_sent_to(address):
    publisher = Publisher("memory://")
    publisher.send("/queue/a", 1, reply_to=address)
    publisher.send(address, "the answer")
    assert publisher.outbox[0].headers["reply-to"] == address
