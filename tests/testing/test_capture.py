from __future__ import annotations

import pytest

from stomp_web import BrokerUnavailable, InvalidFrame, Publisher, SerializationError
from stomp_web.broker import Broker
from stomp_web.observers import SendSucceeded
from stomp_web.testing import capture
from tests.wsgi.helpers import in_threads

NOWHERE = "stomp://127.0.0.1:1"


def test_messages_of_every_publisher_are_recorded_and_none_is_sent():
    before = Publisher(NOWHERE)
    with capture() as outbox:
        identity = before.send("/queue/a", {"id": 7})
        Publisher(NOWHERE, serializer="pickle").send("/queue/b", {"id": 8})

    assert [(message.destination, message.payload) for message in outbox] == [
        ("/queue/a", {"id": 7}),
        ("/queue/b", {"id": 8}),
    ]
    assert outbox[0].id == identity
    assert outbox[0].content_type == "application/json"
    with pytest.raises(BrokerUnavailable):
        before.send("/queue/a", 1)


def test_with_publishers_named_the_others_go_on_sending():
    with Broker() as broker, Publisher(broker.url) as sending:
        captured = Publisher(NOWHERE)
        with capture(captured) as outbox:
            captured.send("/queue/a", 1)
            sending.send("/queue/a", 2)

        assert [message.payload for message in outbox] == [1]
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"2"]


def test_messages_of_all_threads_are_recorded():
    publisher = Publisher(NOWHERE)
    with capture() as outbox:
        in_threads(4, lambda number: publisher.send("/queue/a", number))

    assert sorted(message.payload for message in outbox) == [0, 1, 2, 3]


def test_of_nested_blocks_the_innermost_records():
    publisher = Publisher(NOWHERE)
    with capture() as outer:
        publisher.send("/queue/a", 1)
        with capture() as inner:
            publisher.send("/queue/a", 2)
        publisher.send("/queue/a", 3)

    assert [message.payload for message in outer] == [1, 3]
    assert [message.payload for message in inner] == [2]


def test_batches_are_recorded_when_they_are_sent():
    publisher = Publisher(NOWHERE)
    with capture() as outbox:
        with publisher.batch() as batch:
            batch.send("/queue/a", 1)
            assert outbox == []
        publisher.send_many([("/queue/a", 2), ("/queue/a", 3)])

    assert [message.payload for message in outbox] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", 1), InvalidFrame),
        (("/queue/a", object()), SerializationError),
        (("/queue/a", 1, {"x": "a\0b"}), InvalidFrame),
        (("/queue/a", 1, {"receipt": "1"}), InvalidFrame),
    ],
)
def test_what_no_broker_could_be_sent_is_refused_and_not_recorded(arguments, error):
    with capture() as outbox:
        with pytest.raises(error):
            Publisher(NOWHERE).send(*arguments)
        assert outbox == []


def test_of_a_batch_with_one_bad_message_nothing_is_recorded():
    with capture() as outbox:
        with pytest.raises(InvalidFrame):
            Publisher(NOWHERE).send_many([("/queue/a", 1), ("", 2)])
        assert outbox == []


def test_observers_and_statistics_see_captured_messages():
    events = []
    publisher = Publisher(NOWHERE, observers=[events.append])
    with capture():
        publisher.send("/queue/a", 1)

    assert isinstance(events[-1], SendSucceeded)
    assert publisher.stats().sent == 1


def test_signed_payloads_can_be_read_back():
    publisher = Publisher(NOWHERE, serializer="signed-json", signing_keys=["k"])
    with capture() as outbox:
        publisher.send("/queue/a", {"id": 7})

    assert outbox[0].payload == {"id": 7}
    assert "x-signature" in outbox[0].headers


def test_a_block_that_fails_ends_the_capture():
    publisher = Publisher("memory://")
    with pytest.raises(RuntimeError), capture():
        raise RuntimeError
    publisher.send("/queue/a", 1)

    assert len(publisher.outbox) == 1
