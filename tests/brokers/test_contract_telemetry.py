"""The contract, telemetry: a trace and its baggage go through every broker, and each one is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

from opentelemetry import baggage, context

from stomp_web import Publisher
from stomp_web.worker import Worker
from tests.brokers.running import PATIENCE
from tests.telemetry.recording import Telemetry
from tests.worker.running import Notes, Running

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker


def test_a_trace_goes_from_the_sender_into_the_handler(broker: RunningBroker, destination: str) -> None:
    telemetry = Telemetry()
    tenants: list[object] = []
    notes = Notes(lambda message: tenants.append(baggage.get_baggage("tenant")))
    worker = Worker(broker.url)
    worker.subscribe(destination)(notes)
    running = Running(telemetry.instrument(worker)).alive()
    token = context.attach(baggage.set_baggage("tenant", "Zoë & co"))
    try:
        with Publisher(broker.url, timeout=PATIENCE) as publisher:
            telemetry.instrument(publisher)
            with telemetry.tracer.start_as_current_span("request"):
                publisher.send(destination, {"id": 7})
        notes.wait(1)
        telemetry.wait(3)
    finally:
        context.detach(token)
        assert running.stop() == 0
    sent, handled = telemetry.named(f"send {destination}"), telemetry.named(f"process {destination}")
    assert handled.parent.span_id == sent.context.span_id
    assert len({span.context.trace_id for span in telemetry.spans}) == 1
    assert tenants == ["Zoë & co"]
    known = {"rabbitmq": "rabbitmq", "activemq": "activemq", "artemis": "activemq"}
    system = next((system for name, system in known.items() if name in str(broker).lower()), "stomp")
    assert [span.attributes["messaging.system"] for span in (sent, handled)] == [system, system]
