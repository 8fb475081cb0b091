"""Metrics for Prometheus, without OpenTelemetry. `Collector` needs the extra ``prometheus``.

>>> from prometheus_client import REGISTRY, generate_latest
>>> from stomp_web import Publisher
>>> publisher = Publisher("memory://")
>>> collector = Collector(publisher)
>>> REGISTRY.register(collector)
>>> message_id = publisher.send("/queue/orders", {"id": 7})
>>> text = generate_latest(REGISTRY).decode()
>>> 'stomp_web_messages_sent_total{broker="memory://",destination="/queue/orders",outcome="confirmed"} 1.0' in text
True
>>> REGISTRY.unregister(collector)

If the environment variable ``PROMETHEUS_MULTIPROC_DIR`` is set, `prometheus_client.multiprocess.MultiProcessCollector`
combines the metrics of several processes. Each process updates its files at each event, and
``MultiProcessCollector`` reads the files. The gauges of workers are missing in this case, because these gauges also
change between two events.
"""

from __future__ import annotations

import collections
import functools
import os
import typing

from .._internal.per_process import PerProcess
from ..errors import DeliveryUnknown, MessageError, Rejected, StompError
from ..observers import (
    Event,
    MessageDeadLettered,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageReceived,
    PoolChanged,
    SendFailed,
    SendSucceeded,
)
from . import Template, missing
from .attributes import Naming
from .kinds import guarded, is_inside, kind_of

try:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector as BaseCollector

    from .prometheus_metrics import Metrics
except ImportError as error:
    raise missing(error, "prometheus_client", "prometheus_client", "prometheus") from None

if typing.TYPE_CHECKING:
    from ..outbox import Relay
    from ..publisher import Publisher
    from ..worker import Worker

__all__ = ["Collector"]

_MOST_DESTINATIONS: typing.Final = 100
_MOST_LATE: typing.Final = 10_000  # events of nested calls that wait to be counted; of more, the oldest are not counted
_OTHER: typing.Final = "(other)"


class Collector(BaseCollector):
    """Collects the metrics of *targets*: publishers, workers and relays.

    Register the collector with a registry of `prometheus_client`. A program should have one `Collector` for all
    targets, because two collectors would have metrics of the same names.

    * *destination_template* - a function that takes a destination and returns its label. If the function returns
      ``None``, the destination itself is the label. Only the first 100 labels are used. All further destinations
      together have the label ``(other)``.

    Raises `ConfigurationError` if one of *targets* has another type.
    """

    def __init__(self, *targets: Publisher | Worker | Relay, destination_template: Template | None = None) -> None:
        self._publishers: list[Publisher] = []
        self._workers: list[Worker] = []
        self._relays: list[Relay] = []
        self._template = destination_template
        self._destinations: dict[str, None] = {}
        self._metrics = PerProcess(lambda _pid: Metrics())
        self._observers: list[tuple[typing.Any, typing.Callable[[Event], None]]] = []
        self._late = PerProcess(lambda _pid: collections.deque[typing.Callable[[], None]](maxlen=_MOST_LATE))
        self._at_each_event = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        kinds = [kind_of(target, "Collector") for target in targets]
        for kind, target in zip(kinds, targets, strict=True):
            self._add(kind, target)

    def _add(self, kind: str, target: typing.Any) -> None:
        if kind == "relay":
            self._relays.append(target)
            target.counting = True
            return
        (self._publishers if kind == "publisher" else self._workers).append(target)
        observer = self._of_publisher(target) if kind == "publisher" else self._of_worker(target)
        target.observers.add(observer)
        self._observers.append((target, observer))

    def close(self) -> None:
        """Stop counting the events of the targets."""
        for target, observer in self._observers:
            target.observers.remove(observer)

    def collect(self) -> typing.Iterable[Metric]:
        """Return the metrics of this process. `prometheus_client` calls this method."""
        self._count_late()
        return guarded(self._collect) or []

    def _collect(self) -> list[Metric]:
        metrics = self._metrics[os.getpid()]
        metrics.refresh(self._publishers, self._workers, self._relays)
        return list(metrics.collect())

    def _count(self, count: typing.Callable[[], None]) -> None:
        """Call *count*. If this thread is already inside a call of `guarded`, call *count* later."""
        if is_inside():
            self._late[os.getpid()].append(count)
        else:
            guarded(count)
            self._count_late()

    def _count_late(self) -> None:
        late = self._late[os.getpid()]
        while late and not is_inside():
            try:
                count = late.popleft()
            except IndexError:  # another thread has taken the last one
                return
            guarded(count)

    def _of_publisher(self, publisher: Publisher) -> typing.Callable[[Event], None]:
        broker = publisher.url

        def observe(event: Event) -> None:
            self._count(functools.partial(count, event))

        def count(event: Event) -> None:
            metrics = self._metrics[os.getpid()]
            if isinstance(event, SendSucceeded | SendFailed):
                position = event.call.notes[observe] = event.call.notes.get(observe, -1) + 1
                metrics.sent.labels(broker, self._label(event.destination), _outcome(event, position)).inc()
                if position == 0:  # the whole call took that long
                    same = len(set(event.call.destinations)) == 1
                    metrics.send_duration.labels(broker, self._label(event.destination) if same else "").observe(
                        event.seconds
                    )
            elif isinstance(event, PoolChanged):
                metrics.pool_changes.labels(broker, event.change).inc()
            else:
                return
            self._refresh(metrics)

        return observe

    def _of_worker(self, worker: Worker) -> typing.Callable[[Event], None]:
        broker = worker.url

        def observe(event: Event) -> None:
            self._count(functools.partial(count, event))

        def count(event: Event) -> None:
            metrics = self._metrics[os.getpid()]
            if isinstance(event, MessageReceived):
                metrics.received.labels(broker, self._label(event.destination, event.subscription)).inc()
            elif isinstance(event, MessageHandled | MessageFailed):
                outcome = "handled" if isinstance(event, MessageHandled) else "failed"
                destination = self._label(event.destination, event.subscription)
                metrics.process_duration.labels(broker, destination, outcome).observe(event.seconds)
            elif isinstance(event, MessageGivenBack):
                metrics.given_back.labels(broker, self._label(event.destination, event.subscription)).inc()
            elif isinstance(event, MessageDeadLettered):
                metrics.dead_lettered.labels(broker, self._label(event.destination, event.subscription)).inc()
            self._refresh(metrics)

        return observe

    def _refresh(self, metrics: Metrics) -> None:
        if self._at_each_event:
            # Without workers: their gauges also change between two events, and would be wrong until the next event.
            metrics.refresh(self._publishers, (), self._relays)

    def _label(self, destination: str, subscription: str = "") -> str:
        name = Naming.of(destination, self._template, subscription).name or "(temporary)"
        if name not in self._destinations:
            if len(self._destinations) >= _MOST_DESTINATIONS:
                return _OTHER
            self._destinations[name] = None
        return name


def _outcome(event: SendSucceeded | SendFailed, position: int) -> str:
    """Return the outcome of a message, as a field name of `PublisherStats`.

    *position* is the message's index in its batch.
    """
    if isinstance(event, SendSucceeded):
        return "confirmed" if event.confirmed else "sent"
    error = event.error
    if isinstance(error, MessageError) and position in error.not_sent:
        return "not_sent"
    if isinstance(error, Rejected):
        return "rejected"
    return "unknown" if isinstance(error, DeliveryUnknown) or not isinstance(error, StompError) else "not_sent"
