"""The metric instruments for OpenTelemetry.

`meters_of` makes one set of instruments for each meter provider. Publishers, workers and relays with the same
provider share this set.
"""

from __future__ import annotations

import collections
import typing
import weakref

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from .._internal.version import __version__
from . import attributes as names
from .attributes import Attributes

if typing.TYPE_CHECKING:
    from ..outbox import Relay
    from ..publisher import Publisher
    from ..worker import Worker

__all__ = ["Meters", "all_meters", "meters_of", "pool_attributes"]

_T = typing.TypeVar("_T")

_COUNTED_STATES: typing.Final = ("pending", "waiting", "failed", "sent")

_Key = tuple[tuple[str, typing.Any], ...]
_Numbers = typing.Iterable[tuple[Attributes, float]]


class _Watched(dict[int, "weakref.ref[_T]"], typing.Generic[_T]):
    """Weak references to publishers, workers or relays. A garbage-collected object has no entry.

    The key of an object is its ``id()``.
    """

    def add(self, target: _T) -> None:
        key = id(target)
        self[key] = weakref.ref(target, lambda _: self.pop(key, None))

    def discard(self, target: _T) -> None:
        self.pop(id(target), None)

    def alive(self) -> list[_T]:
        return [target for reference in list(self.values()) if (target := reference()) is not None]


class Meters:
    """The instruments of *provider*. Some instruments read the statistics of `publishers`, `workers` and `relays`."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = metrics.get_meter("stomp_web", __version__, provider, names.SCHEMA_URL)
        self.publishers: _Watched[Publisher] = _Watched()
        self.workers: _Watched[Worker] = _Watched()
        self.relays: _Watched[Relay] = _Watched()

        def histogram(name: str, text: str) -> metrics.Histogram:
            return meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=names.BUCKETS)

        self.operation_duration = histogram(names.OPERATION_DURATION, "Duration of a send or of a batch.")
        self.process_duration = histogram(names.PROCESS_DURATION, "Duration of the handling of a message.")
        self.sent = meter.create_counter(names.SENT_MESSAGES, "{message}", "Messages that a publisher tried to send.")
        self.consumed = meter.create_counter(names.CONSUMED_MESSAGES, "{message}", "Messages delivered to handlers.")
        self.given_back = meter.create_counter(names.WORKER_GIVEN_BACK, "{message}", "Messages returned by NACK.")
        self.dead_lettered = meter.create_counter(names.WORKER_DEAD_LETTERED, "{message}", "Confirmed dead letters.")
        self.pool_changes = meter.create_counter(names.POOL_CHANGES, "{connection}", "Changes of pooled connections.")

        def read(numbers: typing.Callable[[], _Numbers]) -> list[typing.Callable[[CallbackOptions], list[Observation]]]:
            return [lambda _options: _sums(numbers())]

        def last(numbers: typing.Callable[[], _Numbers]) -> list[typing.Callable[[CallbackOptions], list[Observation]]]:
            return [lambda _options: [Observation(number, attributes) for attributes, number in numbers()]]

        up_down, gauge = meter.create_observable_up_down_counter, meter.create_observable_gauge
        counter = meter.create_observable_counter
        up_down(names.POOL_COUNT, read(self._connections), "{connection}", "Open connections, by state.")
        up_down(names.POOL_MAX, read(lambda: self._pools("max_size")), "{connection}", "The most connections.")
        up_down(names.POOL_PENDING, read(lambda: self._pools("waiting")), "{request}", "Callers waiting for one.")
        counter(names.POOL_WAIT_TIME, read(lambda: self._pools("wait_seconds")), "s", "How long all callers waited.")
        counter(names.POOL_TIMEOUTS, read(lambda: self._pools("timeouts")), "{request}", "Callers that got none.")
        up_down(names.WORKER_IN_FLIGHT, read(lambda: self._workers("in_flight")), "{message}", "Messages in handlers.")
        up_down(names.WORKER_WAITING, read(lambda: self._workers("waiting")), "{message}", "Waiting for a handler.")
        gauge(names.OUTBOX_MESSAGES, last(self._rows), "{message}", "Messages in the outbox, by state.")
        gauge(names.OUTBOX_OLDEST, last(self._oldest), "s", "Age of the oldest unsent message in the outbox.")

    def _connections(self) -> _Numbers:
        for publisher in self.publishers.alive():
            if (pool := publisher.stats().pool) is not None:
                own = pool_attributes(publisher)
                yield {**own, names.POOL_STATE: "idle"}, pool.idle
                yield {**own, names.POOL_STATE: "used"}, pool.lent

    def _pools(self, name: str) -> _Numbers:
        for publisher in self.publishers.alive():
            if (pool := publisher.stats().pool) is not None:
                yield pool_attributes(publisher), getattr(pool, name)

    def _workers(self, name: str) -> _Numbers:
        for worker in self.workers.alive():
            yield names.server_attributes(worker.url), getattr(worker.stats(), name)

    def _rows(self) -> _Numbers:
        for relay in self.relays.alive():
            outbox = relay.stats().outbox
            for state in _COUNTED_STATES:
                yield {names.OUTBOX_NAME: relay.store.name, names.OUTBOX_STATE: state}, getattr(outbox, state)

    def _oldest(self) -> _Numbers:
        for relay in self.relays.alive():
            yield {names.OUTBOX_NAME: relay.store.name}, relay.stats().outbox.oldest or 0.0


def pool_attributes(publisher: Publisher) -> Attributes:
    """Return the OpenTelemetry attributes for the metrics of a publisher's pool."""
    return {names.POOL_NAME: publisher.url, **names.server_attributes(publisher.url)}


def _sums(numbers: _Numbers) -> list[Observation]:
    """Return one sum for each set of attributes in *numbers*.

    Pools with the same address have the same attributes. Their numbers are added.
    """
    sums: collections.Counter[_Key] = collections.Counter()
    for attributes, number in numbers:
        sums[tuple(attributes.items())] += number  # type: ignore[assignment]
    return [Observation(number, dict(key)) for key, number in sums.items()]


_global: dict[None, Meters] = {}
_by_provider: weakref.WeakKeyDictionary[MeterProvider, Meters] = weakref.WeakKeyDictionary()


def meters_of(provider: MeterProvider | None) -> Meters:
    """Return the instruments of *provider*. ``None`` means the global provider, which may be set later."""
    if provider is None:
        return _global.get(None) or _global.setdefault(None, Meters(None))
    return _by_provider.get(provider) or _by_provider.setdefault(provider, Meters(provider))


def all_meters() -> list[Meters]:
    """Return the instruments of all providers."""
    return [*_global.values(), *_by_provider.values()]
