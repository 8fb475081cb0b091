"""The metric objects of `prometheus_client` for one process."""

from __future__ import annotations

import collections
import threading
import typing

from prometheus_client import Counter, Gauge, Histogram, Metric

from .attributes import BUCKETS

if typing.TYPE_CHECKING:
    from ..outbox import Relay
    from ..publisher import Publisher
    from ..worker import Worker

__all__ = ["Metrics"]

_STATES: typing.Final = ("pending", "waiting", "failed", "sent")


class Metrics:
    """The metrics. Events increase some metrics. `refresh` sets the others from statistics, such as `Worker.stats`."""

    def __init__(self) -> None:
        #: All metrics, in the order of the page.
        self._all: list[Counter | Gauge | Histogram] = []
        message, worker = ("broker", "destination"), ("broker",)
        self.sent = self._counter("messages_sent", "Messages that a publisher tried to send.", *message, "outcome")
        self.send_duration = self._histogram("send_duration_seconds", "Duration of a send or of a batch.", *message)
        self.pool_changes = self._counter("pool_changes", "Changes of the pool's connections.", "broker", "change")
        self._connections = self._gauge("pool_connections", "Open connections, by state.", "broker", "state")
        self._most = self._gauge("pool_max_connections", "The most connections of the pool.", "broker")
        self._callers = self._gauge("pool_waiting_callers", "Callers that wait for a connection.", "broker")
        self._waited = self._counter("pool_wait_seconds", "How long all callers waited for connections.", "broker")
        self._timeouts = self._counter("pool_timeouts", "Callers that got no connection in time.", "broker")
        self.received = self._counter("messages_received", "Messages that a worker has received.", *message)
        text = "Duration of the handling of a message."
        self.process_duration = self._histogram("process_duration_seconds", text, *message, "outcome")
        self.given_back = self._counter("messages_given_back", "Messages returned to their queue by NACK.", *message)
        self.dead_lettered = self._counter("messages_dead_lettered", "Confirmed dead letters.", *message)
        self._in_flight = self._gauge("worker_in_flight_messages", "Messages in handlers.", *worker)
        self._waiting = self._gauge("worker_waiting_messages", "Messages that wait for a handler.", *worker)
        self._connected = self._gauge("worker_connected", "Workers with a session at the broker.", *worker)
        self._rows = self._gauge("outbox_messages", "Messages in the outbox, by state.", "outbox", "state", mode="max")
        text = "Age of the oldest unsent message in the outbox."
        self._oldest = self._gauge("outbox_oldest_age_seconds", text, "outbox", mode="max")
        self._relayed = self._counter("relay_sent", "Messages that a relay has sent.", "outbox")
        self._failures = self._counter("relay_failures", "Tries of a relay that have failed.", "outbox")
        self._counted: dict[tuple[Counter, str], float] = {}
        self._lock = threading.RLock()  # a signal handler may send while its own thread refreshes

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._keep(Counter(f"stomp_web_{name}", text, labels, registry=None))

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return self._keep(Histogram(f"stomp_web_{name}", text, labels, registry=None, buckets=BUCKETS))

    def _gauge(self, name: str, text: str, *labels: str, mode: typing.Literal["sum", "max"] = "sum") -> Gauge:
        return self._keep(
            Gauge(
                f"stomp_web_{name}",
                text,
                labels,
                registry=None,
                multiprocess_mode="livesum" if mode == "sum" else "livemax",
            )
        )

    _M = typing.TypeVar("_M", bound="Counter | Gauge | Histogram")

    def _keep(self, metric: _M) -> _M:
        self._all.append(metric)
        return metric

    def collect(self) -> typing.Iterator[Metric]:
        """Yield every metric that has a value."""
        for metric in self._all:
            yield from (each for each in metric.collect() if each.samples)

    def refresh(
        self,
        publishers: typing.Iterable[Publisher],
        workers: typing.Iterable[Worker],
        relays: typing.Iterable[Relay],
    ) -> None:
        """Set metrics from statistics. Numbers with the same labels are added up.

        But the rows of an outbox are counted only once, even if the outbox has several relays.
        """
        with self._lock:
            gauges: collections.Counter[tuple[Gauge, tuple[str, ...]]] = collections.Counter()
            counters: collections.Counter[tuple[Counter, str]] = collections.Counter()
            for publisher in publishers:
                pool, broker = publisher.stats().pool, publisher.url
                if pool is not None:
                    gauges[self._connections, (broker, "idle")] += pool.idle
                    gauges[self._connections, (broker, "used")] += pool.lent
                    gauges[self._most, (broker,)] += pool.max_size
                    gauges[self._callers, (broker,)] += pool.waiting
                    counters[self._waited, broker] += pool.wait_seconds  # type: ignore[assignment]
                    counters[self._timeouts, broker] += pool.timeouts
            for worker in workers:
                numbers, broker = worker.stats(), worker.url
                gauges[self._in_flight, (broker,)] += numbers.in_flight
                gauges[self._waiting, (broker,)] += numbers.waiting
                gauges[self._connected, (broker,)] += int(numbers.connected)
            for relay in relays:
                relayed, outbox = relay.stats(), relay.store.name
                for state in _STATES:
                    gauges[self._rows, (outbox, state)] = getattr(relayed.outbox, state)
                gauges[self._oldest, (outbox,)] = relayed.outbox.oldest or 0.0  # type: ignore[assignment]
                counters[self._relayed, outbox] += relayed.sent
                counters[self._failures, outbox] += relayed.failures
            for (gauge, labels), value in gauges.items():
                gauge.labels(*labels).set(value)
            for (counter, label), total in counters.items():
                counter.labels(label).inc(max(total - self._counted.get((counter, label), 0.0), 0.0))
                self._counted[counter, label] = total
