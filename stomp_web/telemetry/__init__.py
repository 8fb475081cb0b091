"""Telemetry: spans and metrics of OpenTelemetry, and metrics of Prometheus. Both stand on `stomp_web.observers`.

Nothing here is imported before it is used. `instrument` needs the extra ``otel``, which is OpenTelemetry's API alone.
Without an SDK, the API does nothing. `stomp_web.telemetry.prometheus` needs the extra ``prometheus``.
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
    """Make spans and metrics of OpenTelemetry for *target*. A second call for the same *target* does nothing.

    * *target* - a `Publisher`, a `Worker` or a `Relay`. The option ``telemetry=True`` of a publisher and of a worker
      calls `instrument` with it. A relay has only metrics; its publisher makes the spans.
    * *tracer_provider*, *meter_provider* - the providers; by default the global providers, which may be set later. The
      processes of a worker with ``processes`` always use their own global tracer provider.
    * *system* - the value of ``messaging.system``. By default, it is ``rabbitmq`` or ``activemq`` if the broker says so
      when a connection is opened, and otherwise ``stomp``.
    * *destination_template* - a function that returns the ``messaging.destination.template`` of a destination, or
      ``None``. Give one if names of destinations contain ids: metrics then contain the template only.

    Raises `ConfigurationError` if OpenTelemetry is not installed, or if *target* is something else.
    """
    try:
        from .targets import add
    except ImportError as error:
        raise missing(error, "opentelemetry", "OpenTelemetry", "otel") from None
    add(target, tracer_provider, meter_provider, system, destination_template)


def uninstrument(target: Publisher | Worker | Relay) -> None:
    """Stop making spans and metrics for *target*. If a worker runs, its spans end with its next run."""
    from .targets import remove

    remove(target)


def missing(error: ImportError, package: str, name: str, extra: str) -> Exception:
    if (error.name or "").partition(".")[0] != package:
        return error
    text = f"telemetry needs {name}, which is not installed: pip install 'stomp-web[{extra}]'"
    return ConfigurationError(text, "telemetry")
