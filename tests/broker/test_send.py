"""`Broker.send` puts a message into the broker without a client, and `Destinations.counts` says where messages are."""

from __future__ import annotations

import pytest

from stomp_web.broker import Broker
from stomp_web.broker.destinations import Counts
from stomp_web.protocol import Frame


def counts(broker: Broker) -> dict[str, Counts]:
    with broker._loop.state:
        return broker._destinations.counts()


class TestSend:
    def test_a_subscriber_gets_it_as_if_a_client_had_sent_it(self, broker, connect):
        wire = connect()
        wire.subscribe("/queue/a")
        sent = broker.send("/queue/a", b"\0\xff", {"x-colour": "re:d\n", "priority": "9"})
        frame = wire.receive()
        assert frame.body == b"\0\xff"
        assert frame.headers["message-id"] == sent
        assert frame.headers["content-length"] == "2"
        assert (frame.headers["x-colour"], frame.headers["priority"]) == ("re:d\n", "9")

    def test_text_goes_without_content_length(self, broker, connect):
        wire = connect()
        wire.subscribe("/topic/a")
        broker.send("/topic/a", "grüße")
        frame = wire.receive()
        assert frame.body == "grüße".encode()
        assert "content-length" not in frame.headers

    def test_faults_do_not_apply(self, broker):
        fault = broker.faults.drop("SEND")
        broker.send("a", b"x")
        assert [frame.body for frame in broker.pending("/queue/a")] == [b"x"]
        assert fault.fired == 0

    def test_it_waits_for_the_start_of_the_broker(self):
        broker = Broker()
        broker.send("/queue/a", b"early")
        with broker:
            assert [frame.body for frame in broker.pending("/queue/a")] == [b"early"]

    @pytest.mark.parametrize(
        ("destination", "body", "headers", "words"),
        [
            ("/bogus/a", b"", {}, "'/bogus/a' is not a valid destination"),
            ("/amq/queue/a", b"", {}, "no queue 'a'"),
            ("/queue/a", b"", {"receipt": "1"}, "header 'receipt' has no meaning"),
            ("/queue/a", b"", {"content-length": "1"}, "header 'content-length' has no meaning"),
            ("/queue/a", b"", {"priority": "high"}, "'priority' must be a whole number"),
            ("/queue/a", b"", {"reply-to": "/temp-queue/a"}, "name a queue instead"),
            ("/queue/a", b"", {"x": "\0"}, "NUL"),
            ("/queue/a", "\0", {}, "NUL"),
        ],
    )
    def test_what_the_broker_refuses_is_a_clear_error(self, broker, destination, body, headers, words):
        with pytest.raises(ValueError, match=words):
            broker.send(destination, body, headers)
        assert not broker.destinations()


class TestCounts:
    def test_a_queue_counts_what_it_accepted_what_waits_and_what_is_unacknowledged(self, broker, connect):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", b"3")
        assert counts(broker) == {"/queue/a": Counts(accepted=3, waiting=3)}
        wire.subscribe("/queue/a", ack="client-individual", prefetch_count="1")
        first = wire.receive()
        assert counts(broker) == {"/queue/a": Counts(3, 2, 1, 1)}
        wire.ack(first)
        wire.receive()
        assert counts(broker) == {"/queue/a": Counts(3, 1, 1, 1)}

    def test_a_subscription_with_a_wildcard_counts_where_it_subscribed(self, broker, connect):
        wire = connect()
        wire.subscribe("/topic/orders.*")
        wire.put("/topic/orders.new", b"1")
        assert counts(broker) == {"/topic/orders.new": Counts(1), "/topic/orders.*": Counts(subscribers=1)}

    def test_a_durable_subscription_without_its_subscriber_keeps_messages(self, broker, connect):
        wire = connect()
        wire.subscribe("/topic/a", "mine", durable="true", auto_delete="false")
        wire.send(Frame("DISCONNECT", {}))
        assert wire.ends()
        broker.send("/topic/a", b"1")
        assert counts(broker) == {"/topic/a": Counts(accepted=1, waiting=1)}

    def test_a_queue_that_exists_from_the_start_is_there(self):
        assert counts(Broker(queues=["a"])) == {"/queue/a": Counts()}


def test_active_faults_are_those_that_are_not_over(broker, connect):
    first, second = broker.faults.error("BEGIN"), broker.faults.error("SEND")
    assert broker._loop.rules.active() == [first, second]
    assert connect().ask("BEGIN", {"transaction": "t"}).command == "ERROR"
    assert broker._loop.rules.active() == [second]
    second.cancel()
    assert broker._loop.rules.active() == []
