"""An empty ``x-message-id`` is no id: it counted as one for all, and distinct messages were dropped as duplicates."""

from __future__ import annotations

import typing

import pytest

from stomp_web import InvalidFrame, Message, PublishClient, Publisher
from stomp_web.broker import Broker
from stomp_web.testing import capture
from stomp_web.worker import Worker
from tests.brokers.ports import lasting_broker
from tests.worker.running import Notes, Running

EMPTY = pytest.mark.parametrize("empty", ["", " "])


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@EMPTY
def test_a_worker_handles_each_of_the_messages_that_have_an_empty_one(broker, empty):
    notes = Notes()
    worker = Worker(broker.url, deduplicate=100)
    worker.subscribe("/queue/a")(notes)
    with PublishClient(*broker.address) as client:
        for number in range(5):
            client.send("/queue/a", str(number), {"x-message-id": empty}, content_type="application/json", confirm=True)
    running = Running(worker).alive()
    assert sorted(message.payload for message in notes.wait(5)) == [0, 1, 2, 3, 4]
    assert len({message.id for message in notes.messages}) == 5
    assert running.stop() == 0
    assert worker.stats().duplicates == 0


@EMPTY
def test_a_client_does_not_take_it_for_the_message_s_id(empty):
    assert Message("/queue/a", b"x", {"x-message-id": empty}).id is None


class TestPublisher:
    """It refuses one, whatever the way."""

    @EMPTY
    @pytest.mark.parametrize("scheme", ["stomp", "memory", "console", "null"])
    def test_in_the_headers(self, broker, scheme, empty):
        url = broker.url if scheme == "stomp" else f"{scheme}://"
        with Publisher(url) as publisher:
            with pytest.raises(InvalidFrame, match="x-message-id must not be empty"):
                publisher.send("/queue/a", 1, {"x-message-id": empty})
            with pytest.raises(InvalidFrame, match="x-message-id must not be empty"):
                publisher.prepare("/queue/a", 1, {"x-message-id": empty})
            assert publisher.send("/queue/a", 1)

    @pytest.mark.parametrize(
        "bad", [("/queue/a", 1, {"x-message-id": ""}), Message("/queue/a", b"x", {"x-message-id": ""})]
    )
    def test_in_a_batch_of_which_nothing_is_sent(self, broker, bad):
        with Publisher(broker.url) as publisher:
            with pytest.raises(InvalidFrame, match="x-message-id must not be empty"):
                publisher.send_many([("/queue/a", 1), bad])
            assert publisher.stats().sent == 0
        assert broker.messages("/queue/a") == []

    def test_while_a_test_captures_messages(self, broker):
        with Publisher(broker.url) as publisher, capture() as sent:
            with pytest.raises(InvalidFrame, match="x-message-id must not be empty"):
                publisher.send("/queue/a", 1, {"x-message-id": ""})
            assert not sent
