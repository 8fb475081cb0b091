"""The meaning of destinations; no confirmed message is dropped."""

from __future__ import annotations

import time

import pytest

from stomp_web.broker import Broker
from stomp_web.broker.naming import choose_naming
from tests.broker.wire import Wire

RABBITMQ, ACTIVEMQ, ARTEMIS = "RabbitMQ/3.10.8", "ActiveMQ/5.17.2", "ActiveMQ-Artemis/2.40.0 ActiveMQ Artemis"


def answer(broker: Broker, command: str, destination: str, **headers: str) -> tuple[str, str, str]:
    with Wire(broker) as wire:
        wire.connect()
        headers = {"id": "s", **headers} if command == "SUBSCRIBE" else headers
        frame = wire.ask(command, {"destination": destination, **headers})
        return frame.command, frame.headers.get("message", ""), frame.body.decode()


class TestWildcards:
    @pytest.mark.parametrize(
        ("server", "pattern", "topic", "meant"),
        [
            (RABBITMQ, "/topic/orders.*", "/topic/orders.eu", True),
            (RABBITMQ, "/topic/orders.*", "/topic/orders.eu.de", False),
            (RABBITMQ, "/topic/orders.#", "/topic/orders.eu.de", True),
            (RABBITMQ, "/topic/orders.#", "/topic/orders", True),
            (RABBITMQ, "/exchange/amq.topic/orders.*", "/topic/orders.eu", True),
            (RABBITMQ, "/exchange/amq.direct/*", "/exchange/amq.direct/*", True),
            ("stomp-web/1", "/topic/*.eu", "/topic/orders.eu", True),
            ("stomp-web/1", "/topic/a/b.*", "/topic/a/b.c", True),
            (ACTIVEMQ, "/topic/orders.>", "/topic/orders.eu.de", True),
            (ACTIVEMQ, "/topic/orders.*", "/topic/orders.eu", True),
            (ACTIVEMQ, "/topic/orders.#", "/topic/orders.eu", False),
            (ARTEMIS, "/topic/orders.#", "/topic/orders.eu.de", True),
        ],
    )
    def test_a_subscription_with_wildcards_gets_what_its_broker_would_send_it(self, server, pattern, topic, meant):
        with Broker(server=server) as broker, Wire(broker) as reader, Wire(broker) as writer:
            reader.connect()
            reader.subscribe(pattern)
            writer.connect()
            writer.put(topic, b"x")
            assert (reader.nothing_waits() is False) is meant
            assert broker.subscribers(pattern) == 1

    def test_two_subscriptions_that_match_get_a_copy_each(self, connect):
        wire = connect()
        wire.subscribe("/topic/a.*", "1")
        wire.subscribe("/topic/#", "2")
        wire.subscribe("/topic/a.b", "3")
        connect().put("/topic/a.b", b"x")
        assert sorted(wire.receive().headers["subscription"] for _ in range(3)) == ["1", "2", "3"]

    def test_a_durable_subscription_with_wildcards_collects(self, connect):
        first = connect()
        first.subscribe("/topic/a.*", durable="true", auto_delete="false")
        first.do("DISCONNECT")
        connect().put("/topic/a.b", b"x")
        second = connect()
        second.subscribe("/topic/a.*", durable="true", auto_delete="false")
        assert second.bodies(1) == [b"x"]

    def test_what_such_a_subscription_has_is_unacknowledged_at_its_topic(self, connect, broker):
        wire = connect()
        wire.subscribe("/topic/a.*", ack="client")
        connect().put("/topic/a.b", b"x")
        wire.receive()
        assert len(broker.unacknowledged("/topic/a.b")) == len(broker.unacknowledged("/topic/a.*")) == 1

    def test_the_wildcard_of_another_broker_is_refused_where_none_is_played(self, broker):
        assert answer(broker, "SUBSCRIBE", "/topic/orders.>")[:2] == ("ERROR", "Not supported")

    @pytest.mark.parametrize("server", [RABBITMQ, ACTIVEMQ])
    def test_a_pattern_of_many_wildcards_costs_no_time(self, server):
        naming = choose_naming(server)
        began = time.process_time()
        assert not naming.matches(".".join(["#", "*"] * 60 + ["end"]), ".".join(["a"] * 200))
        assert time.process_time() - began < 30  # and not years


class TestRefusals:
    @pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
    @pytest.mark.parametrize("destination", ["/bogus/x", "/", "queue/a", "/amq/x", "/temp-topic/x"])
    def test_an_unknown_destination_is_refused_in_rabbitmqs_words(self, broker, command, destination):
        assert answer(broker, command, destination) == (
            "ERROR",
            "Unknown destination",
            f"'{destination}' is not a valid destination.\nValid destination types are: /temp-queue, /exchange, "
            "/topic, /queue, /amq/queue, /reply-queue/.\n",
        )
        assert broker.destinations() == []

    @pytest.mark.parametrize("destination", ["/queue/", "/topic", "/exchange/", "/exchange/amq.topic/a/b"])
    def test_a_destination_without_a_name_is_refused(self, broker, destination):
        assert answer(broker, "SEND", destination)[1] == "Invalid destination"

    @pytest.mark.parametrize(
        "destination",
        ["/amq/queue/missing", "/exchange/amq.direct/nobody", "/exchange/amq.fanout", "/reply-queue/gone"],
    )
    def test_a_message_that_rabbitmq_confirms_and_drops_is_refused_with_the_reason(self, broker, destination):
        command, _, words = answer(broker, "SEND", destination)
        assert command == "ERROR"
        assert "RabbitMQ would confirm this message and drop it" in words

    def test_an_exchange_takes_a_message_as_soon_as_a_subscription_is_bound(self, connect):
        wire = connect()
        wire.subscribe("/exchange/amq.fanout")
        connect().put("/exchange/amq.fanout/any", b"x")
        assert wire.bodies(1) == [b"x"]

    def test_a_transaction_is_refused_as_a_whole_if_a_binding_is_gone_at_its_end(self, connect, broker):
        reader, writer = connect(), connect()
        reader.subscribe("/exchange/amq.direct/k")
        writer.do("BEGIN", {"transaction": "t"})
        writer.do("SEND", {"destination": "/queue/a", "transaction": "t"})
        writer.do("SEND", {"destination": "/exchange/amq.direct/k", "transaction": "t"})
        reader.do("UNSUBSCRIBE", {"id": "s"})
        assert writer.ask("COMMIT", {"transaction": "t"}).command == "ERROR"
        assert broker.messages("/queue/a") == []

    @pytest.mark.parametrize(
        "destination", ["/temp-queue/a", "/queue/a,/queue/b", "/queue/a.*", "/queue/Consumer.x.VirtualTopic.y"]
    )
    def test_what_activemq_would_do_and_this_broker_does_not_is_refused(self, destination):
        with Broker(server=ACTIVEMQ) as broker:
            assert answer(broker, "SUBSCRIBE", destination)[0] == "ERROR"

    @pytest.mark.parametrize("destination", ["/bogus/x", "a", "/exchange/amq.direct/k", "/queue/a/b"])
    def test_at_activemq_any_name_is_a_queue(self, destination):
        with Broker(server=ACTIVEMQ) as broker:
            assert answer(broker, "SEND", destination)[0] == "RECEIPT"
            assert len(broker.pending(destination)) == 1

    @pytest.mark.parametrize("destination", ["/queue/private", "private", "/amq/queue/private"])
    def test_a_denied_queue_is_denied_in_every_spelling(self, destination):
        with Broker(denied=["/queue/private"], queues=["private"]) as broker:
            assert answer(broker, "SEND", destination)[1] == "Access denied"

    @pytest.mark.parametrize("options", [{"dead_letters": "/topic/dead"}, {"queues": ["/bogus/x"]}])
    def test_a_broker_is_not_made_with_queues_that_are_none(self, options):
        with pytest.raises(ValueError, match="must name queues"):
            Broker(**options)


class TestNames:
    def test_the_three_spellings_of_a_queue_are_one_queue(self, connect, broker):
        wire = connect()
        for destination in ("/queue/a", "a", "/amq/queue/a"):
            wire.put(destination, destination.encode())
        wire.subscribe("/amq/queue/a")
        frames = [wire.receive() for _ in range(3)]
        assert [frame.body for frame in frames] == [b"/queue/a", b"a", b"/amq/queue/a"]
        assert {frame.headers["destination"] for frame in frames} == {"/queue/a"}
        assert len(broker.messages("a")) == len(broker.wait_for("/amq/queue/a", 3)) == 3

    def test_a_queue_that_was_emptied_still_exists(self, connect):
        wire = connect()
        wire.put("/queue/a", b"x")
        wire.subscribe("/queue/a")
        assert wire.bodies(1) == [b"x"]
        wire.do("UNSUBSCRIBE", {"id": "s"})
        wire.put("/amq/queue/a", b"y")
        wire.subscribe("/amq/queue/a")
        assert wire.bodies(1) == [b"y"]

    def test_queues_can_exist_from_the_start(self):
        with Broker(queues=["orders", "/queue/bills"]) as broker:
            assert answer(broker, "SEND", "/amq/queue/orders")[0] == "RECEIPT"
            assert answer(broker, "SUBSCRIBE", "/amq/queue/bills")[0] == "RECEIPT"
            assert answer(broker, "SUBSCRIBE", "/amq/queue/others")[1] == "not_found"


class TestReplyQueues:
    def test_an_answer_comes_to_the_session_that_asked(self, connect):
        service, asker = connect(), connect()
        service.subscribe("/queue/service")
        asker.put("/queue/service", b"?", **{"reply-to": "/temp-queue/answers"})
        asked = service.receive()
        service.put(asked.headers["reply-to"], b"!")
        answered = asker.receive()
        assert (answered.body, answered.headers["subscription"]) == (b"!", "/temp-queue/answers")
        asker.put("/queue/service", b"?", **{"reply-to": "/temp-queue/answers"})
        assert service.receive().headers["reply-to"] == asked.headers["reply-to"]

    def test_it_is_nobody_elses_and_gone_with_its_session(self, connect, broker):
        service, asker = connect(), connect()
        service.subscribe("/queue/service")
        asker.put("/queue/service", b"?", **{"reply-to": "/temp-queue/answers"})
        reply_to = service.receive().headers["reply-to"]
        assert answer(broker, "SUBSCRIBE", reply_to)[1] == "resource_locked"
        asker.do("DISCONNECT")
        assert broker.wait_until(lambda: broker.sessions == 1)
        assert service.ask("SEND", {"destination": reply_to}).headers["message"] == "not_found"

    @pytest.mark.parametrize("server", [ACTIVEMQ, ARTEMIS])
    def test_a_broker_without_them_refuses_the_question(self, server):
        with Broker(server=server) as broker:
            headers = {"reply-to": "/temp-queue/answers"}
            assert answer(broker, "SEND", "/queue/service", **headers)[0] == "ERROR"
            assert broker.messages("/queue/service") == []
