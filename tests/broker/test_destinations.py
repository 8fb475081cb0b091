"""Queues, topics, acknowledgement and redelivery."""

from __future__ import annotations

import itertools

import pytest

from stomp_web.broker import Broker
from tests.broker.wire import Wire

VERSIONS = ("1.1", "1.2")


class TestQueues:
    @pytest.mark.parametrize("destination", ["/queue/a", "a", "/queue/a/b", "queue with spaces: ü"])
    def test_a_queue_keeps_what_is_sent(self, connect, destination):
        wire = connect()
        wire.put(destination, b"1", b"2", b"3")
        wire.subscribe(destination)
        assert wire.bodies(3) == [b"1", b"2", b"3"]

    def test_one_message_goes_to_one_subscriber_in_turn(self, connect):
        consumers = [connect() for _ in range(3)]
        for consumer in consumers:
            consumer.subscribe("/queue/a")
        connect().put("/queue/a", *[b"%d" % number for number in range(9)])
        received = [consumer.bodies(3) for consumer in consumers]
        assert sorted(itertools.chain(*received)) == [b"%d" % number for number in range(9)]
        assert all(bodies == sorted(bodies) for bodies in received)

    def test_nothing_comes_after_unsubscribe(self, connect, broker):
        wire = connect()
        wire.subscribe("/queue/a")
        wire.do("UNSUBSCRIBE", {"id": "s"})
        wire.put("/queue/a", b"x")
        assert wire.nothing_waits()
        assert len(broker.pending("/queue/a")) == 1

    def test_two_subscriptions_of_one_session_are_told_apart(self, connect):
        wire = connect()
        wire.subscribe("/queue/a", "1")
        wire.subscribe("/queue/b", "2")
        other = connect()
        other.put("/queue/b", b"b")
        other.put("/queue/a", b"a")
        assert [wire.receive().headers["subscription"] for _ in range(2)] == ["2", "1"]


class TestTopics:
    def test_every_subscriber_gets_every_message(self, connect):
        consumers = [connect() for _ in range(3)]
        for consumer in consumers:
            consumer.subscribe("/topic/a")
        connect().put("/topic/a", b"1", b"2")
        assert [consumer.bodies(2) for consumer in consumers] == [[b"1", b"2"]] * 3

    def test_what_was_sent_before_the_subscription_is_not_delivered(self, connect, broker):
        wire = connect()
        wire.put("/topic/a", b"early")
        wire.subscribe("/topic/a")
        connect().put("/topic/a", b"late")
        assert wire.bodies(1) == [b"late"]
        assert [frame.body for frame in broker.messages("/topic/a")] == [b"early", b"late"]

    def test_a_message_that_one_subscriber_refuses_comes_back_to_it_alone(self, connect):
        one, other = connect(), connect()
        one.subscribe("/topic/a", ack="client-individual")
        other.subscribe("/topic/a", ack="client-individual")
        connect().put("/topic/a", b"x")
        one.ack(one.receive(), "NACK")
        assert one.receive().headers["redelivered"] == "true"
        assert "redelivered" not in other.receive().headers
        assert other.nothing_waits()

    @pytest.mark.parametrize(
        "headers",
        [{"activemq.subscriptionName": "mine"}, {"durable-subscription-name": "mine"}, {"durable": "true"}],
        ids=["activemq", "artemis", "rabbitmq"],
    )
    def test_a_durable_subscription_collects_while_its_subscriber_is_away(self, connect, broker, headers):
        first = connect(client_id="me")
        first.subscribe("/topic/a", **headers)
        first.do("DISCONNECT")
        sender = connect()
        sender.put("/topic/a", b"1", b"2")
        second = connect(client_id="me")
        second.subscribe("/topic/a", **headers)
        assert second.bodies(2) == [b"1", b"2"]
        second.do("UNSUBSCRIBE", {"id": "s", **headers})
        sender.put("/topic/a", b"3")
        third = connect(client_id="me")
        third.subscribe("/topic/a", **headers)
        assert third.nothing_waits()

    def test_a_durable_subscription_has_one_subscriber(self, connect):
        name = {"activemq.subscriptionName": "mine"}
        connect(client_id="me").subscribe("/topic/a", **name)
        connect(client_id="you").subscribe("/topic/a", **name)
        second = connect(client_id="me")
        assert second.ask("SUBSCRIBE", {"destination": "/topic/a", "id": "s", **name}).command == "ERROR"


class TestAcknowledgement:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_client_is_cumulative(self, connect, broker, version):
        wire = connect(version)
        wire.put("/queue/a", b"1", b"2", b"3")
        wire.subscribe("/queue/a", ack="client")
        messages = [wire.receive() for _ in range(3)]
        wire.ack(messages[1])
        assert wire.nothing_waits()
        assert [frame.body for frame in broker.unacknowledged("/queue/a")] == [b"3"]

    @pytest.mark.parametrize("version", VERSIONS)
    def test_client_individual_is_not(self, connect, broker, version):
        wire = connect(version)
        wire.put("/queue/a", b"1", b"2", b"3")
        wire.subscribe("/queue/a", ack="client-individual")
        messages = [wire.receive() for _ in range(3)]
        wire.ack(messages[1])
        assert wire.nothing_waits()
        assert [frame.body for frame in broker.unacknowledged("/queue/a")] == [b"1", b"3"]

    def test_auto_needs_none_and_allows_none(self, connect, broker):
        wire = connect("1.1")
        wire.put("/queue/a", b"1")
        wire.subscribe("/queue/a")
        message = wire.receive()
        assert broker.unacknowledged("/queue/a") == []
        wire.ack(message)
        assert wire.receive().command == "ERROR"

    def test_only_1_2_names_the_acknowledgement_and_only_where_one_is_wanted(self, connect):
        for version, ack, named in (("1.1", "client", False), ("1.2", "auto", False), ("1.2", "client", True)):
            wire = connect(version)
            wire.put("/queue/a", b"x")
            wire.subscribe("/queue/a", ack=ack)
            message = wire.receive()
            assert ("ack" in message.headers) is named
            if ack == "client":
                wire.ack(message)
            wire.do("DISCONNECT")

    def test_a_message_is_acknowledged_once(self, connect):
        wire = connect()
        wire.put("/queue/a", b"1")
        wire.subscribe("/queue/a", ack="client")
        message = wire.receive()
        wire.ack(message)
        wire.ack(message)
        assert wire.receive().command == "ERROR"

    @pytest.mark.parametrize("how", ["close", "disconnect", "unsubscribe"])
    def test_what_was_not_acknowledged_goes_to_another_in_order_and_says_so(self, connect, how):
        first = connect()
        first.put("/queue/a", b"1", b"2", b"3", b"4")
        first.subscribe("/queue/a", ack="client-individual")
        messages = [first.receive() for _ in range(4)]
        first.ack(messages[1])
        assert first.nothing_waits()
        if how == "close":
            first.sock.close()
        elif how == "disconnect":
            first.do("DISCONNECT")
        else:
            first.do("UNSUBSCRIBE", {"id": "s"})
        second = connect()
        second.subscribe("/queue/a", ack="client")
        again = [second.receive() for _ in range(3)]
        assert [frame.body for frame in again] == [b"1", b"3", b"4"]
        assert [frame.headers["redelivered"] for frame in again] == ["true"] * 3
        assert [frame.headers["message-id"] for frame in again] == [
            frame.headers["message-id"] for frame in messages if frame.body != b"2"
        ]

    def test_nack_puts_a_message_back_before_the_others(self, connect):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", b"3")
        wire.subscribe("/queue/a", ack="client-individual", prefetch_count="1")
        wire.ack(wire.receive(), "NACK")
        again = wire.receive()
        assert (again.body, again.headers["redelivered"]) == (b"1", "true")
        wire.ack(again)
        following = wire.receive()
        assert following.body == b"2"
        assert "redelivered" not in following.headers

    def test_an_ack_of_an_earlier_delivery_does_not_count_for_the_next(self, connect):
        wire = connect()
        wire.put("/queue/a", b"1")
        wire.subscribe("/queue/a", ack="client-individual")
        first = wire.receive()
        wire.ack(first, "NACK")
        assert wire.receive().headers["ack"] != first.headers["ack"]
        wire.ack(first)
        assert wire.receive().command == "ERROR"

    def test_nack_in_mode_client_is_cumulative(self, connect):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", b"3")
        wire.subscribe("/queue/a", ack="client")
        messages = [wire.receive() for _ in range(3)]
        wire.ack(messages[1], "NACK")
        assert wire.bodies(2) == [b"1", b"2"]

    def test_nack_without_requeue_is_for_good(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1", priority="7")
        wire.subscribe("/queue/a", ack="client")
        wire.ack(wire.receive(), "NACK", requeue="false")
        assert wire.nothing_waits()
        (dead,) = broker.pending("/queue/DLQ")
        assert dead.body == b"1"
        assert dead.headers["original-destination"] == "/queue/a"
        wire.subscribe("/queue/DLQ", "dead", ack="client")
        wire.ack(wire.receive(), "NACK", requeue="false")
        assert wire.nothing_waits()
        assert broker.pending("/queue/DLQ") == []

    @pytest.mark.parametrize("header", ["prefetch-count", "activemq.prefetchSize"])
    def test_prefetch_limits_what_is_unacknowledged(self, connect, broker, header):
        wire = connect()
        wire.put("/queue/a", b"1", b"2", b"3", b"4")
        wire.subscribe("/queue/a", ack="client", **{header: "2"})
        wire.receive()
        second = wire.receive()
        assert wire.nothing_waits()
        assert len(broker.pending("/queue/a")) == 2
        wire.ack(second)
        assert wire.bodies(2) == [b"3", b"4"]

    def test_what_one_has_no_room_for_goes_to_another(self, connect):
        busy, free = connect(), connect()
        busy.subscribe("/queue/a", ack="client", prefetch_count="1")
        free.subscribe("/queue/a")
        connect().put("/queue/a", b"1", b"2", b"3", b"4")
        assert sorted(busy.bodies(1) + free.bodies(3)) == [b"1", b"2", b"3", b"4"]


def test_messages_outlive_a_restart_of_the_broker():
    broker = Broker()
    with broker, Wire(broker) as wire:
        wire.connect()
        wire.put("/queue/a", b"1", b"2")
        wire.subscribe("/queue/a", ack="client", prefetch_count="1")
        wire.receive()
    with broker, Wire(broker) as wire:
        wire.connect()
        wire.subscribe("/queue/a")
        again, other = wire.receive(), wire.receive()
        assert (again.body, again.headers["redelivered"]) == (b"1", "true")
        assert other.body == b"2"
