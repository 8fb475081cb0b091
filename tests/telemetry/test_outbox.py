"""A trace goes through the outbox: its context is in the row."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

sqlalchemy = pytest.importorskip("sqlalchemy")

from opentelemetry.trace import SpanKind
from sqlalchemy.orm import Session

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.sqlalchemy import Outbox
from stomp_web.telemetry import instrument, uninstrument
from stomp_web.worker import Worker
from tests.client.scripted import eventually
from tests.outbox.running import Running
from tests.worker.running import PATIENCE, Notes


@pytest.fixture
def engine(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
    yield engine
    engine.dispose()


@pytest.fixture
def outbox(engine, publisher):
    metadata = sqlalchemy.MetaData()
    outbox = Outbox(metadata, publisher)
    metadata.create_all(engine)
    return outbox


def test_the_row_has_the_context_of_the_request(engine, outbox, broker, telemetry, start):
    worker = Worker(broker.url)
    worker.subscribe("/queue/orders")(Notes())
    start(telemetry.instrument(worker))
    with telemetry.tracer.start_as_current_span("request"), Session(engine) as session, session.begin():
        message_id = outbox.send(session, "/queue/orders", {"id": 7}, {"correlation-id": "c"})
    created = telemetry.named("create /queue/orders")
    with engine.connect() as connection:
        (headers,) = connection.execute(sqlalchemy.select(outbox.table.c.headers)).scalars()
    assert json.loads(headers)["traceparent"].split("-")[2] == f"{created.context.span_id:016x}"

    assert outbox.relay(engine).run(once=True) == 0

    telemetry.wait(4)
    request, sent, handled = (
        telemetry.named(f"{each}") for each in ("request", "send /queue/orders", "process /queue/orders")
    )
    assert (created.kind, created.parent.span_id) == (SpanKind.PRODUCER, request.context.span_id)
    assert (sent.kind, sent.parent.span_id) == (SpanKind.CLIENT, created.context.span_id)
    assert [link.context.span_id for link in sent.links] == [created.context.span_id]
    assert handled.parent.span_id == created.context.span_id
    assert len({span.context.trace_id for span in telemetry.spans}) == 1
    assert dict(created.attributes) == {
        "messaging.system": "stomp",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "/queue/orders",
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": "c",
        "server.address": "127.0.0.1",
        "server.port": broker.port,
    }


def test_what_was_created_only_is_not_counted_as_sent(engine, outbox, telemetry):
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", 1)
    assert telemetry.points("messaging.client.sent.messages") == []
    outbox.relay(engine).run(once=True)
    assert [point.value for point in telemetry.points("messaging.client.sent.messages")] == [1]


def test_a_batch_of_several_traces_has_a_link_to_each(engine, outbox, telemetry):
    for number in range(3):
        with telemetry.tracer.start_as_current_span(f"request {number}"), Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", number)
    outbox.relay(engine).run(once=True)
    sent = telemetry.named("send /queue/orders")
    created = [span for span in telemetry.spans if span.name == "create /queue/orders"]
    assert (sent.parent, sent.attributes["messaging.batch.message_count"]) == (None, 3)
    assert [link.context.span_id for link in sent.links] == [span.context.span_id for span in created]


def test_rows_with_and_without_a_context_may_be_one_batch(engine, outbox, publisher, telemetry, broker):
    uninstrument(publisher)
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", 1)
    telemetry.instrument(publisher)
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", 2)
    outbox.relay(engine).run(once=True)
    sent, created = telemetry.named("send /queue/orders"), telemetry.named("create /queue/orders")
    found = [frame.headers["traceparent"].split("-")[2] for frame in broker.messages("/queue/orders")]
    assert found == [f"{span.context.span_id:016x}" for span in (sent, created)]
    assert sent.kind == SpanKind.PRODUCER


def test_a_context_of_the_caller_is_kept(engine, outbox, telemetry, broker):
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", 1, {"traceparent": own})
    assert telemetry.spans == []
    outbox.relay(engine).run(once=True)
    assert broker.messages("/queue/orders")[0].headers["traceparent"] == own


def test_a_message_that_leaves_right_after_the_commit(engine, publisher, telemetry):
    outbox = Outbox(metadata := sqlalchemy.MetaData(), publisher, relay="inline")
    metadata.create_all(engine)
    with telemetry.tracer.start_as_current_span("request"), Session(engine) as session, session.begin():
        outbox.send(session, "/queue/orders", 1)
    request, sent = telemetry.named("request"), telemetry.named("send /queue/orders")
    assert sent.parent.span_id == request.context.span_id


def test_the_numbers_of_the_outbox(engine, telemetry):
    with Broker(denied=("/queue/orders",)) as broker, Publisher(broker.url) as publisher:
        outbox = Outbox(metadata := sqlalchemy.MetaData(), publisher)
        metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 1)
        relay = outbox.relay(engine, max_attempts=1)
        instrument(relay, *telemetry.providers)

        def counted():
            points = telemetry.points("stomp_web.outbox.messages")
            return {point.attributes["stomp_web.outbox.message.state"]: point.value for point in points}

        assert counted() == {"pending": 0, "waiting": 0, "failed": 0, "sent": 0}
        with Running(relay):
            assert eventually(lambda: counted()["failed"] == 1, PATIENCE)
            (age,) = telemetry.points("stomp_web.outbox.oldest_age")
        assert age.value > 0
        assert age.attributes["stomp_web.outbox.name"] == relay.store.name
        uninstrument(relay)
        assert counted() == {}


def test_the_rows_are_counted_while_the_broker_is_away(engine, telemetry):
    with Publisher("stomp://127.0.0.1:1", timeout=5.0) as publisher:
        outbox = Outbox(metadata := sqlalchemy.MetaData(), publisher)
        metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 1)
            outbox.send(session, "/queue/orders", 2)
        relay = outbox.relay(engine)
        instrument(relay, *telemetry.providers)
        with Running(relay):
            assert eventually(lambda: relay.stats().outbox.pending == 2, PATIENCE), relay.stats()
            assert "127.0.0.1:1" in relay.stats().problem
            assert relay.stats().outbox.oldest > 0
