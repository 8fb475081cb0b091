"""The entry point ``opentelemetry_instrumentor``, for the command ``opentelemetry-instrument``."""

from __future__ import annotations

import typing
import weakref

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from .. import observers
from . import instrument, uninstrument

__all__ = ["StompWebInstrumentor"]


class StompWebInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module has no types
    """Instruments each publisher and each worker that is made after a call of the method `instrument`.

    ``opentelemetry-instrument PROGRAM`` calls the method before the program begins. Without this command, call
    ``StompWebInstrumentor().instrument()`` before you make publishers and workers. The method takes the arguments of
    the function `stomp_web.telemetry.instrument`, except *target*. The method `uninstrument` ends the telemetry of
    these publishers and workers.
    """

    _made: typing.ClassVar[weakref.WeakSet[typing.Any]] = weakref.WeakSet()
    _options: typing.ClassVar[dict[str, typing.Any]] = {}

    def instrumentation_dependencies(self) -> typing.Collection[str]:
        """Return an empty list, because the instrumented package is stomp-web itself."""
        return []

    def _instrument(self, **options: typing.Any) -> None:
        known = ("tracer_provider", "meter_provider", "system", "destination_template")
        self._options.update({name: options[name] for name in known if name in options})
        observers.installers.append(self._install)

    def _uninstrument(self, **_: typing.Any) -> None:
        observers.installers.remove(self._install)
        self._options.clear()
        for target in list(self._made):
            uninstrument(target)
        self._made.clear()

    def _install(self, target: typing.Any) -> None:
        instrument(target, **self._options)
        self._made.add(target)
