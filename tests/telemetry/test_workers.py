"""Spans and metrics of what a worker handles, in threads and in processes."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from stomp_web import ConfigurationError, Publisher
from stomp_web.broker import Broker
from stomp_web.telemetry import uninstrument
from stomp_web.worker import Reject, Worker
from tests.client.scripted import eventually
from tests.telemetry import tasks
from tests.worker.running import PATIENCE, Notes, settled


def fail(message):
    raise LookupError("the shelf is empty")


def make(broker, telemetry, function, destination="/queue/a", subscribed=None, **options):
    worker = Worker(broker.url, retry_delay=0.001, max_redeliveries=0, **options)
    worker.subscribe(subscribed or destination)(function)
    return telemetry.instrument(worker)


def test_the_handler_continues_the_trace_of_the_sender(publisher, broker, telemetry, start):
    current = []
    start(make(broker, telemetry, Notes(lambda message: current.append(trace.get_current_span()))))
    with telemetry.tracer.start_as_current_span("request"):
        message_id = publisher.send("/queue/a", 1, correlation_id="c-7")
    telemetry.wait(3)
    sent, handled = telemetry.named("send /queue/a"), telemetry.named("process /queue/a")
    assert handled.kind == SpanKind.CONSUMER
    assert handled.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in handled.links] == [sent.context.span_id]
    assert len({span.context.trace_id for span in telemetry.spans}) == 1
    assert [span.get_span_context() for span in current] == [handled.get_span_context()]
    assert dict(handled.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "/queue/a",
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": "c-7",
        "server.address": "127.0.0.1",
        "server.port": broker.port,
    }


def test_what_the_handler_sends_belongs_to_its_span(publisher, broker, telemetry, start):
    start(make(broker, telemetry, lambda message: publisher.send("/queue/b", 1)))
    publisher.send("/queue/a", 1)
    telemetry.wait(3)
    handled, answered = telemetry.named("process /queue/a"), telemetry.named("send /queue/b")
    assert answered.parent == handled.get_span_context()


def test_baggage_comes_along(broker, telemetry, start):
    found = []
    worker = make(broker, telemetry, Notes(lambda message: found.append(baggage.get_baggage("tenant"))))
    start(worker)
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1, {"baggage": "tenant=x"})
        telemetry.wait(1)
    assert found == ["x"]


def test_a_message_without_a_context_begins_a_trace(broker, telemetry, start):
    start(make(broker, telemetry, Notes()))
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1, {"traceparent": "nonsense"})
        (span,) = telemetry.wait(1)
    assert (span.parent, list(span.links)) == (None, [])


def test_a_handler_that_raises(publisher, broker, telemetry, start):
    start(make(broker, telemetry, fail))
    publisher.send("/queue/a", 1)
    broker.wait_for("/queue/DLQ")
    telemetry.wait(2)
    span = telemetry.named("process /queue/a")
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "LookupError: the shelf is empty",
    )
    assert span.attributes["error.type"] == "LookupError"
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize(
    ("payload", "headers", "kind"),
    [(7, {}, "Reject"), ("x", {"content-type": "application/x-y"}, "SerializationError")],
)
def test_a_message_that_is_refused_or_cannot_be_read(publisher, broker, telemetry, start, payload, headers, kind):
    def reject(message):
        raise Reject("no such customer")

    start(make(broker, telemetry, reject))
    publisher.send("/queue/a", payload, headers, serializer="json")
    telemetry.wait(2)
    span = telemetry.named("process /queue/a")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, kind)


def test_each_try_has_a_span_of_its_own(telemetry, start):
    def once(message):
        if not message.failures:
            raise LookupError

    with Broker(server="RabbitMQ/4.3.6") as broker, Publisher(broker.url) as publisher:
        telemetry.instrument(publisher)
        worker = Worker(broker.url, retry_delay=0.001)
        worker.subscribe("/queue/a")(once)
        running = start(telemetry.instrument(worker))
        publisher.send("/queue/a", 1)
        telemetry.wait(3)
        running.stop()
    sent = telemetry.named("send /queue/a")
    first, second = (span for span in telemetry.spans if span is not sent)  # the send may end after the first try
    assert {first.parent.span_id, second.parent.span_id} == {sent.context.span_id}
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]
    (given_back,) = telemetry.points("stomp_web.worker.given_back.messages")
    assert given_back.value == 1


def test_a_wildcard_is_the_template(publisher, broker, telemetry, start):
    start(make(broker, telemetry, Notes(), subscribed="/topic/orders.*"))
    publisher.send("/topic/orders.7", 1)
    telemetry.wait(2)
    span = telemetry.named("process /topic/orders.*")
    assert span.attributes["messaging.destination.name"] == "/topic/orders.7"
    assert span.attributes["messaging.destination.template"] == "/topic/orders.*"
    assert eventually(lambda: telemetry.points("messaging.process.duration"), PATIENCE)
    (point,) = telemetry.points("messaging.process.duration")
    assert point.attributes["messaging.destination.template"] == "/topic/orders.*"
    assert "messaging.destination.name" not in point.attributes


def test_the_metrics(publisher, broker, telemetry, start):
    def handle(message):
        if message.payload == "bad":
            raise LookupError

    running = start(make(broker, telemetry, handle))
    publisher.send_many([("/queue/a", "good"), ("/queue/a", "bad"), ("/queue/a", "good")])
    assert settled(broker)
    assert eventually(lambda: telemetry.points("stomp_web.worker.dead_lettered.messages"), PATIENCE)
    for gauge in ("in_flight", "waiting"):  # a handler is in flight until after its metrics
        name = f"stomp_web.worker.{gauge}.messages"
        assert eventually(lambda name=name: [point.value for point in telemetry.points(name)] == [0], PATIENCE)
    running.stop()
    common = {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "/queue/a",
        "server.address": "127.0.0.1",
        "server.port": broker.port,
    }
    (consumed,) = telemetry.points("messaging.client.consumed.messages")
    assert (consumed.value, dict(consumed.attributes)) == (3, common)
    durations = {point.attributes.get("error.type"): point for point in telemetry.points("messaging.process.duration")}
    assert {kind: point.count for kind, point in durations.items()} == {None: 2, "LookupError": 1}
    assert dict(durations["LookupError"].attributes) == {**common, "error.type": "LookupError"}
    (letters,) = telemetry.points("stomp_web.worker.dead_lettered.messages")
    assert letters.value == 1


def test_it_can_be_ended(publisher, broker, telemetry, start):
    worker = make(broker, telemetry, Notes())
    uninstrument(worker)
    start(worker)
    publisher.send("/queue/a", 1)
    assert broker.wait_until(lambda: broker.received("ACK") == 1)
    assert [span.name for span in telemetry.spans] == ["send /queue/a"]
    assert telemetry.points("messaging.client.consumed.messages") == []


def test_a_span_processor_that_fails_harms_no_message(publisher, broker, telemetry, start):
    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            if span.name.startswith("process"):
                raise LookupError("broken at the start")

        def on_end(self, span):
            raise LookupError("broken at the end")

    telemetry.tracer_provider.add_span_processor(Broken())
    notes = Notes()
    running = start(make(broker, telemetry, notes))
    publisher.send_many([("/queue/a", 1), ("/queue/a", 2)])
    notes.wait(2)
    assert broker.wait_until(lambda: broker.received("ACK") == 2)
    assert running.stop() == 0


class TestProcesses:
    @pytest.fixture
    def spans(self, tmp_path, monkeypatch):
        """Read the spans of the processes."""
        path = tmp_path / "spans"
        monkeypatch.setenv(tasks.FILE, str(path))

        def read(count):
            def lines():
                return path.read_text().splitlines() if path.exists() else []

            assert eventually(lambda: len(lines()) >= count, PATIENCE)
            return [json.loads(line) for line in lines()]

        return read

    def test_the_span_is_made_where_the_handler_runs(self, publisher, broker, telemetry, start, spans):
        worker = Worker(broker.url, processes=1, initializer=tasks.begin_tracing, telemetry=True)
        worker.subscribe("/queue/ask")(tasks.answer)
        start(worker)
        publisher.send("/queue/ask", {"url": broker.url})
        sent = telemetry.wait(1)[0]
        answered, handled = spans(2)
        assert (handled["name"], answered["name"]) == ("process /queue/ask", "send /queue/answers")
        assert handled["parent_id"] == f"0x{sent.context.span_id:016x}"
        assert answered["parent_id"] == handled["context"]["span_id"]
        assert handled["attributes"]["messaging.system"] == "rabbitmq"
        assert handled["attributes"]["server.port"] == broker.port

    def test_one_that_fails(self, publisher, broker, telemetry, start, spans):
        worker = Worker(broker.url, processes=1, initializer=tasks.begin_tracing, telemetry=True, max_redeliveries=0)
        worker.subscribe("/queue/a")(tasks.fail)
        start(worker)
        publisher.send("/queue/a", 1)
        (span,) = spans(1)
        assert span["status"] == {"status_code": "ERROR", "description": "LookupError: in the process"}

    def test_a_provider_that_cannot_go_there_is_refused(self, broker, telemetry):
        worker = telemetry.instrument(Worker(broker.url, processes=1))
        worker.subscribe("/queue/a")(tasks.fail)
        with pytest.raises(ConfigurationError, match="Set the global provider in the worker's initializer"):
            worker.run()
