"""Providers of the OpenTelemetry SDK whose exporters keep what they get in memory."""

from __future__ import annotations

import typing

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.telemetry import instrument
from stomp_web.worker import Worker
from tests.client.scripted import eventually
from tests.worker.running import PATIENCE, Running


class Telemetry:
    """A tracer provider and a meter provider, and what they were given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    @property
    def providers(self) -> tuple[TracerProvider, MeterProvider]:
        return self.tracer_provider, self.meter_provider

    def instrument(self, target: typing.Any, **options: typing.Any) -> typing.Any:
        instrument(target, *self.providers, **options)
        return target

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def wait(self, count: int) -> list[ReadableSpan]:
        """Wait until so many spans have ended."""
        assert eventually(lambda: len(self.spans) >= count, PATIENCE), self.spans
        return self.spans

    def named(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def metrics(self) -> dict[str, typing.Any]:
        """The metrics by name."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[typing.Any]:
        metric = self.metrics().get(name)
        return [] if metric is None else list(metric.data.data_points)


@pytest.fixture
def telemetry() -> typing.Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracer_provider.shutdown()
    made.meter_provider.shutdown()


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with Broker(server="RabbitMQ/4.3.6") as running:
        yield running


@pytest.fixture
def publisher(broker: Broker, telemetry: Telemetry) -> typing.Iterator[Publisher]:
    """An instrumented publisher."""
    with Publisher(broker.url, timeout=60.0) as publisher:
        yield telemetry.instrument(publisher)


@pytest.fixture
def start() -> typing.Iterator[typing.Callable[[Worker], Running]]:
    """Runs a worker, and waits until it is alive: ``start(worker)``."""
    running: list[Running] = []

    def begin(worker: Worker) -> Running:
        running.append(Running(worker))
        return running[-1].alive()

    yield begin
    for each in running:
        each.worker.stop()
    for each in running:
        assert each.ended()
