"""`add` starts OpenTelemetry's spans and metrics for a publisher, a worker or a relay. `remove` stops them."""

from __future__ import annotations

import typing

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from ..observers import Observers
from . import Template
from .attributes import server_attributes
from .handling import HandlerSpans, WorkerTelemetry
from .kinds import kind_of
from .meters import all_meters, meters_of, pool_attributes
from .sends import SendTelemetry, get_tracer

__all__ = ["add", "remove"]


def _known(observers: Observers) -> list[SendTelemetry | WorkerTelemetry]:
    return [each for each in observers.known if isinstance(each, SendTelemetry | WorkerTelemetry)]


def add(
    target: typing.Any,
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    system: str | None,
    template: Template | None,
) -> None:
    """Do the work of `stomp_web.telemetry.instrument`."""
    kind = kind_of(target, "instrument")
    if kind == "relay":
        meters_of(meter_provider).relays.add(target)
        target.counting = True
        return
    known = _known(target.observers)
    meters = known[0].meters if known else meters_of(meter_provider)
    (meters.publishers if kind == "publisher" else meters.workers).add(target)
    if known:
        return
    server = server_attributes(target.url)
    if kind == "publisher":
        tracer = get_tracer(tracer_provider)
        target.observers.add(SendTelemetry(tracer, meters, server, pool_attributes(target), system, template))
    else:
        target.observers.add(WorkerTelemetry(meters, server, system, template))
        target.trace = HandlerSpans(tracer_provider, server, system, template)


def remove(target: typing.Any) -> None:
    """Do the work of `stomp_web.telemetry.uninstrument`."""
    kind = kind_of(target, "uninstrument")
    if kind == "relay":
        for meters in all_meters():
            meters.relays.discard(target)
        return
    for each in _known(target.observers):
        target.observers.remove(each)
        (each.meters.publishers if kind == "publisher" else each.meters.workers).discard(target)
    if kind == "worker":
        target.trace = None
