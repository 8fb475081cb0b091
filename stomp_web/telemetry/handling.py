"""The spans and metrics of a worker.

The span of a message is made in the process in which the handler runs. The span continues the trace in the message's
headers. While the handler runs, the span is current, so the spans of the handler's sends and queries are its children.
The metrics are made in the process that called `Worker.run`.
"""

from __future__ import annotations

import types
import typing

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from .._internal.log import get_logger
from ..client.message import message_id_of
from ..errors import ConfigurationError
from ..observers import (
    Event,
    MessageDeadLettered,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageReceived,
)
from . import Template
from . import attributes as names
from .attributes import Attributes, Naming
from .kinds import guarded
from .meters import Meters
from .sends import creation_context, get_tracer

if typing.TYPE_CHECKING:
    from ..worker.executors import Failure, Job
    from ..worker.handlers import Handler

__all__ = ["HandlerSpans", "WorkerTelemetry"]

_log = get_logger("telemetry")


class HandlerSpans:
    """Makes the span of each message. A worker with processes pickles this object.

    *server* contains the attributes of the worker's broker.
    """

    def __init__(
        self,
        provider: trace.TracerProvider | None,
        server: Attributes,
        system: str | None,
        template: Template | None,
    ) -> None:
        self._provider = provider
        self._server = server
        self._system = system
        self._template = template

    def __getstate__(self) -> dict[str, typing.Any]:
        if self._provider is not None:
            raise ConfigurationError(
                "a tracer_provider cannot be passed to other processes. Set the global provider in the worker's "
                "initializer, and call instrument() without tracer_provider"
            )
        return self.__dict__

    def __call__(self, handler: Handler, job: Job) -> _Handling:
        """Return a context manager in which the caller handles *job*. OpenTelemetry's exceptions are only logged."""
        return _Handling(lambda: self._begin(handler, job))

    def _begin(self, handler: Handler, job: Job) -> tuple[Span, contexts.Context]:
        headers = job.headers
        naming = Naming.of(headers.get("destination", handler.destination), self._template, handler.destination)
        system = self._system or names.system_of(job.server)
        attributes = {names.SYSTEM: system, names.OPERATION_NAME: "process", names.OPERATION_TYPE: "process"}
        attributes |= {**self._server, **naming.attributes}
        if (identity := message_id_of(headers) or headers.get("message-id")) is not None:
            attributes[names.MESSAGE_ID] = identity
        if "correlation-id" in headers:
            attributes[names.CONVERSATION_ID] = headers["correlation-id"]
        created = creation_context(headers)
        links = [] if created is None else [Link(created)]
        received = propagate.extract(headers)
        name = "process" if naming.name is None else f"process {naming.name}"
        span = get_tracer(self._provider).start_span(name, received, SpanKind.CONSUMER, attributes, links)
        return span, trace.set_span_in_context(span, received)


class _Handling:
    """A context manager with the span of one message. `__enter__` returns a function that records a failure."""

    def __init__(self, begin: typing.Callable[[], tuple[Span, contexts.Context]]) -> None:
        self._begin = begin
        self._span: Span | None = None
        self._token: typing.Any = None

    def __enter__(self) -> typing.Callable[[Failure | None], object]:
        try:
            begun = guarded(self._begin)
            if begun is not None:
                self._span = begun[0]
                self._token = contexts.attach(begun[1])
        except Exception:  # noqa: BLE001 - a sampler or a propagator of the application has failed, not the message
            _log.exception("the message is handled without a span")
        return self._note

    def _note(self, failure: Failure | None) -> None:
        if failure is not None and self._span is not None:
            kind = failure.error.partition(":")[0]
            self._fail(self._span, kind if kind.isidentifier() else "", failure.error)

    def _end(self, span: Span, error: BaseException | None) -> None:
        if error is not None:
            span.record_exception(error)
            self._fail(span, names.error_type(error), f"{type(error).__name__}: {error}")
        span.end()

    @staticmethod
    def _fail(span: Span, kind: str, text: str) -> None:
        span.set_attribute(names.ERROR_TYPE, names.error_type(kind))
        span.set_status(Status(StatusCode.ERROR, text))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: types.TracebackType | None
    ) -> None:
        if self._token is not None:
            contexts.detach(self._token)
        span = self._span
        if span is None:
            return
        try:
            guarded(self._end, span, error)
        except Exception:  # noqa: BLE001 - the exception's text, or a span processor of the application, has failed
            _log.exception("the span of a message is incomplete")


class WorkerTelemetry:
    """An observer that makes the metrics of one worker. *server* contains the attributes of the worker's broker."""

    def __init__(self, meters: Meters, server: Attributes, system: str | None, template: Template | None) -> None:
        self.meters = meters
        self._server = server
        self._fixed_system = system
        self._system = system or names.system_of(None)
        self._template = template

    def __call__(self, event: Event) -> None:
        """Make metrics for *event*."""
        guarded(self._measure, event)

    def _measure(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            if self._fixed_system is None:
                self._system = names.system_of(event.server)
            self.meters.consumed.add(1, self._attributes(event))
        elif isinstance(event, MessageHandled):
            self.meters.process_duration.record(event.seconds, self._attributes(event))
        elif isinstance(event, MessageFailed):
            attributes = {**self._attributes(event), names.ERROR_TYPE: names.error_type(event.kind)}
            self.meters.process_duration.record(event.seconds, attributes)
        elif isinstance(event, MessageGivenBack):
            self.meters.given_back.add(1, self._attributes(event))
        elif isinstance(event, MessageDeadLettered):
            self.meters.dead_lettered.add(1, self._attributes(event))

    def _attributes(
        self, event: MessageReceived | MessageHandled | MessageFailed | MessageGivenBack | MessageDeadLettered
    ) -> Attributes:
        naming = Naming.of(event.destination, self._template, event.subscription)
        attributes = {names.SYSTEM: self._system, names.OPERATION_NAME: "process", names.OPERATION_TYPE: "process"}
        return {**attributes, **self._server, **naming.for_metrics}
