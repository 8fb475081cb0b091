"""Spans and metrics of what a publisher sends."""

from __future__ import annotations

import asyncio
import copy
import gc
import weakref

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from stomp_web import BrokerUnavailable, ConfigurationError, ConnectionLost, Message, Publisher, Rejected
from stomp_web.telemetry import instrument, uninstrument


def traceparent(span):
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_a_send_is_a_producer_span_whose_context_travels(publisher, broker, telemetry):
    headers = {"correlation-id": "c-7"}
    message_id = publisher.send("/queue/orders", {"id": 7}, headers)
    (span,) = telemetry.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "send /queue/orders",
        SpanKind.PRODUCER,
        StatusCode.UNSET,
    )
    assert dict(span.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "/queue/orders",
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": "c-7",
        "server.address": "127.0.0.1",
        "server.port": broker.port,
    }
    (frame,) = broker.messages("/queue/orders")
    assert frame.headers["traceparent"] == traceparent(span)
    assert headers == {"correlation-id": "c-7"}
    assert span.instrumentation_scope.name == "stomp_web"
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_it_is_a_child_of_the_current_span(publisher, telemetry):
    with telemetry.tracer.start_as_current_span("request") as request:
        publisher.send("/queue/a", 1)
        assert trace.get_current_span() is request
    sent = telemetry.named("send /queue/a")
    assert sent.parent == request.get_span_context()


def test_a_batch_is_one_span(publisher, broker, telemetry):
    with publisher.batch() as batch:
        batch.send("/queue/a", 1)
        batch.send("/queue/a", 2)
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("send /queue/a", SpanKind.PRODUCER)
    assert span.attributes["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in span.attributes
    assert {frame.headers["traceparent"] for frame in broker.messages("/queue/a")} == {traceparent(span)}


def test_a_batch_to_several_destinations_names_none(publisher, telemetry):
    publisher.send_many([("/queue/a", 1), ("/queue/b", 2)])
    (span,) = telemetry.spans
    assert span.name == "send"
    assert "messaging.destination.name" not in span.attributes
    (point,) = telemetry.points("messaging.client.operation.duration")
    assert "messaging.destination.name" not in point.attributes
    sent = {
        point.attributes["messaging.destination.name"]: point.value
        for point in telemetry.points("messaging.client.sent.messages")
    }
    assert sent == {"/queue/a": 1, "/queue/b": 1}


def test_a_send_that_fails(publisher, broker, telemetry):
    broker.faults.error("SEND", "No")
    with pytest.raises(Rejected) as caught:
        publisher.send("/queue/a", "s3cret")
    (span,) = telemetry.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(caught.value))
    assert span.attributes["error.type"] == "Rejected"
    (event,) = span.events
    assert event.name == "exception"
    assert "s3cret" not in span.to_json()
    (sent,) = telemetry.points("messaging.client.sent.messages")
    (duration,) = telemetry.points("messaging.client.operation.duration")
    assert (sent.value, sent.attributes["error.type"]) == (1, "Rejected")
    assert (duration.count, duration.attributes["error.type"]) == (1, "Rejected")


def test_a_batch_that_fails_in_the_middle_counts_each_message(publisher, broker, telemetry):
    broker.faults.close_before_receipt("SEND", after=1)
    with pytest.raises(ConnectionLost):
        publisher.send_many([("/queue/a", number) for number in range(3)])
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "ConnectionLost"
    counted = {
        point.attributes.get("error.type"): point.value for point in telemetry.points("messaging.client.sent.messages")
    }
    assert counted == {None: 1, "ConnectionLost": 2}
    assert len(telemetry.points("messaging.client.operation.duration")) == 1


def test_a_broker_that_is_away(telemetry):
    with Publisher("stomp://127.0.0.1:1", timeout=1.0) as publisher:
        telemetry.instrument(publisher)
        with pytest.raises(BrokerUnavailable):
            publisher.send("/queue/a", 1)
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "BrokerUnavailable"
    assert span.attributes["messaging.system"] == "stomp"


def test_a_context_of_the_caller_is_kept_and_linked(publisher, broker, telemetry):
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with telemetry.tracer.start_as_current_span("request") as request:
        publisher.send("/queue/a", 1, {"traceparent": own})
    span = telemetry.named("send /queue/a")
    assert broker.messages("/queue/a")[0].headers["traceparent"] == own
    assert [f"{link.context.span_id:016x}" for link in span.links] == ["b7ad6b7169203331"]
    assert (span.kind, span.parent) == (SpanKind.CLIENT, request.get_span_context())


def test_baggage_travels(publisher, broker):
    from opentelemetry import baggage, context

    token = context.attach(baggage.set_baggage("tenant", "Zoë & co"))
    try:
        publisher.send("/queue/a", 1)
    finally:
        context.detach(token)
    assert broker.messages("/queue/a")[0].headers["baggage"] == "tenant=Zo%C3%AB+%26+co"


@pytest.mark.parametrize(
    ("server", "system"),
    [
        ("RabbitMQ/3.10.8", "rabbitmq"),
        ("ActiveMQ/5.17.2", "activemq"),
        ("ActiveMQ-Artemis/2.40", "activemq"),
        ("x", "stomp"),
    ],
)
def test_the_system_is_the_one_that_the_broker_says(telemetry, server, system):
    from stomp_web.broker import Broker

    with Broker(server=server) as broker, Publisher(broker.url) as publisher:
        telemetry.instrument(publisher)
        publisher.send("/queue/a", 1)
        publisher.send("/queue/a", 2)
    assert [span.attributes["messaging.system"] for span in telemetry.spans] == [system, system]


def test_the_system_may_be_given(broker, telemetry):
    with Publisher(broker.url) as publisher:
        telemetry.instrument(publisher, system="jms")
        publisher.send("/queue/a", 1)
    assert telemetry.spans[0].attributes["messaging.system"] == "jms"


def test_a_template_keeps_the_number_of_destinations_small(broker, telemetry):
    def template(destination):
        return "/queue/user.{id}" if destination.startswith("/queue/user.") else None

    with Publisher(broker.url) as publisher:
        telemetry.instrument(publisher, destination_template=template)
        publisher.send("/queue/user.7", 1)
        publisher.send("/queue/user.8", 1)
        publisher.send("/queue/a", 1)
    assert [span.name for span in telemetry.spans] == ["send /queue/user.{id}"] * 2 + ["send /queue/a"]
    assert telemetry.spans[0].attributes["messaging.destination.name"] == "/queue/user.7"
    assert telemetry.spans[0].attributes["messaging.destination.template"] == "/queue/user.{id}"
    points = telemetry.points("messaging.client.sent.messages")
    found = {point.attributes.get("messaging.destination.template"): point.value for point in points}
    assert found == {"/queue/user.{id}": 2, None: 1}
    assert [point.attributes.get("messaging.destination.name") for point in points] == [None, "/queue/a"]


def test_an_answer_goes_to_a_temporary_destination(telemetry):
    publisher = telemetry.instrument(Publisher("memory://"))
    publisher.send("/reply-queue/amq.gen-1", 1)
    (span,) = telemetry.spans
    assert (span.name, span.attributes["messaging.destination.temporary"]) == ("send", True)
    (point,) = telemetry.points("messaging.client.sent.messages")
    assert "messaging.destination.name" not in point.attributes


def test_an_address_of_several_brokers_names_none(broker, telemetry):
    with Publisher(f"stomp://127.0.0.1:{broker.port},localhost:{broker.port}") as publisher:
        telemetry.instrument(publisher)
        publisher.send("/queue/a", 1)
    assert "server.address" not in telemetry.spans[0].attributes


def test_the_duration_has_the_buckets_of_the_conventions(publisher, telemetry):
    publisher.send("/queue/a", 1)
    (point,) = telemetry.points("messaging.client.operation.duration")
    assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    assert point.count == 1
    assert 0 < point.sum < 60


def test_the_pool_is_measured(publisher, telemetry, broker):
    publisher.send("/queue/a", 1)
    name = f"stomp://127.0.0.1:{broker.port}"
    states = {}
    for point in telemetry.points("stomp_web.pool.connection.count"):
        assert (point.attributes["stomp_web.pool.name"], point.attributes["server.port"]) == (name, broker.port)
        states[point.attributes["stomp_web.pool.connection.state"]] = point.value
    assert states == {"idle": 1, "used": 0}
    assert [point.value for point in telemetry.points("stomp_web.pool.connection.max")] == [8]
    assert [point.value for point in telemetry.points("stomp_web.pool.pending_requests")] == [0]
    assert [point.value for point in telemetry.points("stomp_web.pool.timeouts")] == [0]
    (change,) = telemetry.points("stomp_web.pool.connection.changes")
    assert (change.value, change.attributes["stomp_web.pool.connection.change"]) == (1, "opened")


def test_two_pools_with_one_address_are_added(publisher, telemetry, broker):
    with Publisher(broker.url, pool_size=3) as other:
        telemetry.instrument(other)
        assert [point.value for point in telemetry.points("stomp_web.pool.connection.max")] == [11]


def test_a_publisher_that_is_gone_is_not_measured(telemetry):
    gone = telemetry.instrument(Publisher("stomp://127.0.0.1:1"))
    assert telemetry.points("stomp_web.pool.connection.max") != []
    reference = weakref.ref(gone)
    del gone
    gc.collect()
    assert reference() is None
    assert telemetry.points("stomp_web.pool.connection.max") == []


def test_twice_is_once_and_a_copy_is_instrumented_too(publisher, telemetry):
    telemetry.instrument(publisher)
    publisher.send("/queue/a", 1)
    assert len(telemetry.spans) == 1
    with copy.copy(publisher) as again:
        telemetry.instrument(again)
        again.send("/queue/a", 1)
        assert len(telemetry.spans) == 2


def test_it_can_be_ended(publisher, broker, telemetry):
    uninstrument(publisher)
    publisher.send("/queue/a", 1)
    assert telemetry.spans == []
    assert telemetry.points("stomp_web.pool.connection.max") == []
    assert "traceparent" not in broker.messages("/queue/a")[0].headers
    assert not publisher.observers


def test_a_prepared_message_may_be_sent_twice(publisher, broker, telemetry):
    message = publisher.prepare("/queue/a", 1)
    publisher.deliver([message])
    publisher.deliver([message])
    first, second = telemetry.spans
    assert {frame.headers["traceparent"] for frame in broker.messages("/queue/a")} == {traceparent(first)}
    assert [link.context.span_id for link in second.links] == [first.get_span_context().span_id]


def test_a_message_of_the_caller_without_headers(publisher, broker, telemetry):
    publisher.send_many([Message("/queue/a", b"1")])
    assert broker.messages("/queue/a")[0].headers["traceparent"] == traceparent(telemetry.spans[0])


def test_a_sampler_that_drops_the_span_is_passed_on(broker):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with Publisher(broker.url) as publisher:
        instrument(publisher, TracerProvider(sampler=ALWAYS_OFF))
        publisher.send("/queue/a", 1)
    flags = int(broker.messages("/queue/a")[0].headers["traceparent"].rpartition("-")[2], 16)
    assert not flags & 1  # not sampled


def test_without_an_sdk_nothing_is_added(broker):
    with Publisher(broker.url, telemetry=True) as publisher:
        publisher.send("/queue/a", 1)
    assert "traceparent" not in broker.messages("/queue/a")[0].headers


def test_an_exporter_that_fails_harms_no_message(publisher, broker, telemetry):
    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise LookupError("broken")

    telemetry.tracer_provider.add_span_processor(Broken())
    publisher.send("/queue/a", 1)
    assert len(broker.messages("/queue/a")) == 1


def test_asend_belongs_to_the_span_of_its_task(publisher, telemetry):
    async def request():
        with telemetry.tracer.start_as_current_span("request"):
            await publisher.asend("/queue/a", 1)

    asyncio.run(request())
    assert telemetry.named("send /queue/a").parent == telemetry.named("request").get_span_context()


def test_an_exporter_may_send_by_itself(publisher, broker, telemetry):
    class Reporter(SpanProcessor):
        def on_start(self, span, parent_context=None):
            publisher.send("/queue/spans", "start")

        def on_end(self, span):
            publisher.send("/queue/spans", "end")

    telemetry.tracer_provider.add_span_processor(Reporter())
    publisher.send("/queue/a", 1)
    assert [frame.body for frame in broker.messages("/queue/spans")] == [b'"start"', b'"end"']
    assert [span.name for span in telemetry.spans] == ["send /queue/a"]
    publisher.send("/queue/a", 1)
    assert len(telemetry.spans) == 2


@pytest.mark.parametrize("target", [print, "stomp://localhost", object()])
def test_something_else_is_refused(target):
    with pytest.raises(ConfigurationError, match="takes a Publisher, a Worker or a Relay"):
        instrument(target)
    with pytest.raises(ConfigurationError, match="takes a Publisher, a Worker or a Relay"):
        uninstrument(target)
