"""A failed send leaves nothing for the garbage collector: the exception and the payload go with the caller's frame."""

from __future__ import annotations

import gc
import weakref

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("prometheus_client", reason="needs: pip install prometheus-client")

from opentelemetry.trace import StatusCode

from stomp_web import MessageError, Publisher
from stomp_web.telemetry.prometheus import Collector


class Order(dict):
    """A payload that can have weak references."""


@pytest.fixture
def without_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def failing(publisher, count):
    """Send *count* messages in one call, which fails. Return weak references to the exception and the payloads."""
    orders = [Order(id=number) for number in range(count)]
    references = [weakref.ref(order) for order in orders]
    try:
        if count == 1:
            publisher.send("/queue/a", orders[0])
        else:
            publisher.send_many(("/queue/a", order) for order in orders)
    except MessageError as error:
        return [weakref.ref(error), *references]
    raise AssertionError("the send has not failed")


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("observed", ["not", "telemetry", "collector"])
def test_a_failed_send_makes_no_cycle(telemetry, without_gc, observed, count):
    with Publisher("stomp://127.0.0.1:1", timeout=5.0) as publisher:
        if observed == "telemetry":
            telemetry.instrument(publisher)
        elif observed == "collector":
            Collector(publisher)
        assert [reference() for reference in failing(publisher, count)] == [None] * (count + 1)
    assert len(telemetry.spans) == (observed == "telemetry")


def test_a_span_ends_if_a_metric_cannot_be_made(telemetry, caplog):
    calls = []

    def template(destination):
        calls.append(destination)
        if len(calls) > 1:  # the first call is for the name of the span
            raise LookupError(destination)

    with Publisher("memory://") as publisher:
        telemetry.instrument(publisher, destination_template=template)
        publisher.send("/queue/a", 1)
    assert "LookupError: /queue/a" in caplog.text
    (span,) = telemetry.spans
    assert (span.name, span.status.status_code) == ("send /queue/a", StatusCode.UNSET)
