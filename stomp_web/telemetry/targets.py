"""Connects the observers of OpenTelemetry with publishers, workers and relays."""

from __future__ import annotations

import sys
import typing

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from ..errors import ConfigurationError
from ..observers import Observers
from . import Template
from .attributes import server_attributes
from .handling import HandlerSpans, WorkerTelemetry
from .meters import all_meters, meters_of, pool_attributes
from .sends import SendTelemetry, get_tracer

__all__ = ["add", "kind_of", "remove"]

# Where the classes are. Their packages stand above this one, so they are looked up among the loaded modules.
_HOMES: typing.Final = {
    "publisher": ("stomp_web.publisher.publisher", "Publisher"),
    "worker": ("stomp_web.worker.worker", "Worker"),
    "relay": ("stomp_web.outbox.relay", "Relay"),
}


def kind_of(target: object, function: str) -> str:
    """Return ``publisher``, ``worker`` or ``relay``. Raises `ConfigurationError` for any other object."""
    for kind, (module, name) in _HOMES.items():
        found = getattr(sys.modules.get(module), name, None)
        if found is not None and isinstance(target, found):
            return kind
    raise ConfigurationError(
        f"{function} takes a Publisher, a Worker or a Relay, not {type(target).__name__}; in Flask, the publisher is "
        "app.extensions['stomp'].publisher, and in Django stomp_web.django.publishers['default']"
    )


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
