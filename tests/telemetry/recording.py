"""Providers of the OpenTelemetry SDK whose exporters keep what they get in memory."""

from __future__ import annotations

import typing

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stomp_web.telemetry import instrument
from tests.client.scripted import eventually
from tests.worker.running import PATIENCE


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
