"""Telemetry from the events of `stomp_web.observers`: spans and metrics for OpenTelemetry, metrics for Prometheus.

The first call of `instrument` imports OpenTelemetry. `instrument` needs the extra ``otel``, which installs only the API
of OpenTelemetry. Without an SDK, the API does nothing. `stomp_web.telemetry.prometheus` needs the extra ``prometheus``.
"""

from __future__ import annotations

import typing

from ..errors import ConfigurationError

if typing.TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from ..outbox import Relay
    from ..publisher import Publisher
    from ..worker import Worker

__all__ = ["Template", "instrument", "uninstrument"]

#: Takes a destination, and returns the name under which it is counted, or ``None`` for the destination itself.
Template = typing.Callable[[str], str | None]


def instrument(
    target: Publisher | Worker | Relay,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    system: str | None = None,
    destination_template: Template | None = None,
) -> None:
    """Make OpenTelemetry spans and metrics for *target*. A second call for the same publisher or worker does nothing.

    * *target* - a `Publisher`, a `Worker` or a `Relay`. With the option ``telemetry=True``, a publisher or a worker
      calls `instrument` for itself. A relay gets only metrics. For spans, instrument the relay's publishers.
    * *tracer_provider*, *meter_provider* - the providers. The default is the global providers. You may set the global
      providers after this call. For a worker with ``processes``, leave out *tracer_provider*. Each process uses its own
      global tracer provider.
    * *system* - the value of ``messaging.system``. The default is ``rabbitmq`` or ``activemq`` if the broker sends that
      name in CONNECTED, and ``stomp`` otherwise.
    * *destination_template* - a function that takes a destination, and returns ``None`` or the destination's
      ``messaging.destination.template``. If destinations contain ids, pass a function, so that metrics have templates,
      not ids.

    Raises `ConfigurationError` if OpenTelemetry is not installed, or if *target* has another type.
    """
    try:
        from .targets import add
    except ImportError as error:
        raise missing(error, "opentelemetry", "OpenTelemetry", "otel") from None
    add(target, tracer_provider, meter_provider, system, destination_template)


def uninstrument(target: Publisher | Worker | Relay) -> None:
    """Stop making spans and metrics for *target*. A running worker still makes spans until its run ends."""
    from .targets import remove

    remove(target)


def missing(error: ImportError, package: str, name: str, extra: str) -> Exception:
    if (error.name or "").partition(".")[0] != package:
        return error
    text = f"telemetry needs {name}, which is not installed: pip install 'stomp-web[{extra}]'"
    return ConfigurationError(text, "telemetry")
