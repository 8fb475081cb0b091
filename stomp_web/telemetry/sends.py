"""The observer that makes spans and metrics of a publisher's messages.

Each call of ``send`` and each batch has one span. The headers of the messages contain the span's context, so that the
span of a handler can continue the trace. A message may already have a trace context, for example if the message comes
from an outbox. Then the message keeps this context, and the span has a link to this context.
"""

from __future__ import annotations

import collections
import dataclasses
import typing

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode

from .._internal.version import __version__
from ..observers import Event, PoolChanged, SendBegan, SendCall, SendFailed, SendSucceeded, StoreBegan
from . import Template
from . import attributes as names
from .attributes import Attributes, Naming
from .kinds import guarded
from .meters import Meters

__all__ = ["SendTelemetry", "creation_context", "get_tracer"]

_NO_CONTEXT: typing.Final = contexts.Context()


def get_tracer(provider: trace.TracerProvider | None) -> trace.Tracer:
    """Return *provider*'s tracer for stomp-web. ``None`` means the global provider, which may be set later."""
    return trace.get_tracer("stomp_web", __version__, provider, names.SCHEMA_URL)


def creation_context(headers: typing.Mapping[str, str]) -> SpanContext | None:
    """Return the trace context in *headers*, or ``None`` if there is none."""
    found = trace.get_current_span(propagate.extract(headers, _NO_CONTEXT)).get_span_context()
    return found if found.is_valid else None


@dataclasses.dataclass(slots=True, eq=False)
class _Call:
    """The span of one call that sends messages.

    `own` has one item for each message. The item is the trace context from the headers that the caller gave. If these
    headers had no trace context, the item is ``None``.
    """

    span: Span
    naming: Naming | None  # None if the messages go to several destinations
    own: list[SpanContext | None]
    system: str
    begun: int = 0
    ended: int = 0
    error: BaseException | None = None
    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)


class SendTelemetry:
    """An observer that makes the spans and metrics of one publisher.

    *server* contains the OpenTelemetry attributes of the broker, and *pool* contains the attributes of the pool.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        meters: Meters,
        server: Attributes,
        pool: Attributes,
        system: str | None,
        template: Template | None,
    ) -> None:
        self._tracer = tracer
        self.meters = meters
        self._server = server
        self._pool = pool
        self._fixed_system = system
        self._system = system or names.system_of(None)
        self._template = template
        self._react: dict[type, typing.Callable[[typing.Any], None]] = {
            SendBegan: self._send_began,
            SendSucceeded: self._send_ended,
            SendFailed: self._send_ended,
            StoreBegan: self._store_began,
            PoolChanged: self._pool_changed,
        }

    def __call__(self, event: Event) -> None:
        """Make spans and metrics for *event*."""
        react = self._react.get(type(event))
        if react is not None:
            guarded(react, event)

    def _send_began(self, event: SendBegan) -> None:
        call: _Call | None = event.call.notes.get(self)
        if call is None:
            call = event.call.notes[self] = self._begin(event, event.call)
        own = call.own[call.begun]
        call.begun += 1
        if own is None:
            propagate.inject(event.headers, trace.set_span_in_context(call.span))

    def _begin(self, event: SendBegan, sent: SendCall) -> _Call:
        own = [creation_context(headers) for headers in sent.headers]
        links = list({(each.trace_id, each.span_id): each for each in own if each is not None}.values())
        naming = Naming.of(event.destination, self._template) if len(set(sent.destinations)) == 1 else None
        attributes = self._attributes("send", naming)
        if naming is not None:
            attributes.update(naming.attributes)
        if len(own) == 1:
            attributes.update(_of_message(event))
        else:
            attributes[names.BATCH_COUNT] = len(own)
        span = self._tracer.start_span(
            _span_name("send", naming),
            _parent(links),
            SpanKind.PRODUCER if None in own else SpanKind.CLIENT,
            attributes,
            [Link(each) for each in links],
        )
        return _Call(span, naming, own, self._system)

    def _send_ended(self, event: SendSucceeded | SendFailed) -> None:
        call: _Call | None = event.call.notes.get(self)
        if call is None:  # the publisher was instrumented meanwhile, or this is a nested call
            return
        error = event.error if isinstance(event, SendFailed) else None
        call.error = error if call.error is None else call.error
        call.counts[event.destination, "" if error is None else names.error_type(error)] += 1
        call.ended += 1
        if call.ended == len(call.own):
            del event.call.notes[self]  # otherwise the error keeps itself alive: its traceback leads to the notes
            try:
                self._end(call, event.seconds)
            finally:
                call.span.end()

    def _end(self, call: _Call, seconds: float) -> None:
        for (destination, kind), count in call.counts.items():
            attributes = self._attributes("send", Naming.of(destination, self._template), kind)
            self.meters.sent.add(count, attributes)
        kind = "" if call.error is None else names.error_type(call.error)
        in_span = trace.set_span_in_context(call.span)  # so that an exemplar can name the span
        self.meters.operation_duration.record(seconds, self._attributes("send", call.naming, kind), in_span)
        if call.error is not None:
            call.span.set_attribute(names.ERROR_TYPE, kind)
            call.span.record_exception(call.error)
            call.span.set_status(Status(StatusCode.ERROR, str(call.error)))
        if call.system != self._system:  # a connection was opened meanwhile, and the broker has said its name
            call.span.set_attribute(names.SYSTEM, self._system)

    def _store_began(self, event: StoreBegan) -> None:
        if creation_context(event.headers) is not None:
            return
        naming = Naming.of(event.destination, self._template)
        attributes = {**self._attributes("create", naming), **naming.attributes, **_of_message(event)}
        span = self._tracer.start_span(_span_name("create", naming), None, SpanKind.PRODUCER, attributes)
        propagate.inject(event.headers, trace.set_span_in_context(span))
        span.end()

    def _pool_changed(self, event: PoolChanged) -> None:
        self.meters.pool_changes.add(1, {**self._pool, names.POOL_CHANGE: event.change})
        if event.server is not None and self._fixed_system is None:
            self._system = names.system_of(event.server)

    def _attributes(self, operation: str, naming: Naming | None, error: str = "") -> Attributes:
        """Return the attributes for metrics. A span has these attributes, too. *error* is the ``error.type``.

        If *naming* is given, the result includes `Naming.for_metrics`.
        """
        attributes = {names.SYSTEM: self._system, names.OPERATION_NAME: operation, names.OPERATION_TYPE: operation}
        attributes.update(self._server)
        if naming is not None:
            attributes.update(naming.for_metrics)
        if error:
            attributes[names.ERROR_TYPE] = error
        return attributes


def _of_message(event: SendBegan | StoreBegan) -> Attributes:
    attributes = {names.MESSAGE_ID: event.message_id} if event.message_id else {}
    if "correlation-id" in event.headers:
        attributes[names.CONVERSATION_ID] = event.headers["correlation-id"]
    return attributes


def _span_name(operation: str, naming: Naming | None) -> str:
    return operation if naming is None or naming.name is None else f"{operation} {naming.name}"


def _parent(own: list[SpanContext]) -> contexts.Context | None:
    """Return the parent context for a span. *own* has the trace contexts of the span's messages.

    The result ``None`` means the current context. The result is ``None`` if a span is current, *own* is empty, or the
    contexts belong to several traces. Otherwise, the result has the first context of *own*, and
    the new span continues the trace of this context. In a relay, usually no span is current, because a relay begins no
    span itself.
    """
    if not own or trace.get_current_span().get_span_context().is_valid or len({each.trace_id for each in own}) > 1:
        return None
    return trace.set_span_in_context(NonRecordingSpan(own[0]))
