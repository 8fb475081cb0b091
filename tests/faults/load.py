"""The rule, in code: many threads send numbered messages, each call's outcome is recorded, and the queue is counted.

Confirmed = in the queue, exactly once (or, where the caller asked to have unknown ones sent again, at least once with
the same ``x-message-id``). Not confirmed = the caller got an exception of the right class, in time: what is `NotSent`
or `Rejected` is not in the queue, and only what is `DeliveryUnknown` may be there or not.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
import typing
import uuid

from stomp_web import BrokerUnavailable, DeliveryUnknown, NotSent, Publisher, Rejected
from tests.brokers.foreign import ForeignClient
from tests.brokers.running import PATIENCE
from tests.faults.clock import ALLOWED, watch

if typing.TYPE_CHECKING:
    from stomp_web.protocol import Frame
    from tests.brokers.running import RunningBroker

__all__ = ["CONFIRMED", "Call", "Load", "check_rule", "drain", "ids_in", "make_queues"]

CONFIRMED = "confirmed"

_KINDS = (NotSent, Rejected, DeliveryUnknown)


class Call(typing.NamedTuple):
    """One call of `send`: `outcome` is `CONFIRMED`, or the name of one of the three classes."""

    message_id: str
    outcome: str
    error: Exception | None
    seconds: float


class Load:
    """Threads that send confirmed messages through one publisher.

    Each of *threads* sends *sends* messages, or as many as it can until `stop`. It waits *pace* seconds between two.
    After a `NotSent` a thread waits as the exception says, but no longer than *pause* seconds, as requests would come
    in over time and not all in the moment in which the broker is away.

    >>> load = Load(publisher, "/queue/x", threads=64)   # doctest: +SKIP
    >>> with load.running():                              # doctest: +SKIP
    ...     broker.kill()
    ...     load.stop()
    """

    def __init__(
        self,
        publisher: Publisher,
        destination: str,
        *,
        threads: int,
        sends: int = 1_000_000,
        pace: float = 0.0,
        pause: float = 0.5,
    ) -> None:
        self.destination = destination
        self.calls: list[Call] = []
        self._publisher = publisher
        self._sends = sends
        self._pace = pace
        self._pause = pause
        self._run = uuid.uuid4().hex[:12]
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._counts: collections.Counter[str] = collections.Counter()
        self._late = 0.0
        self._threads = [
            threading.Thread(target=self._send_all, args=(number,), name=f"load {number}", daemon=True)
            for number in range(threads)
        ]

    @property
    def planned(self) -> int:
        return len(self._threads) * self._sends

    def count(self, outcome: str) -> int:
        return self._counts[outcome]

    @property
    def failed(self) -> int:
        return len(self.calls) - self.count(CONFIRMED)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    @contextlib.contextmanager
    def running(self, within: float = PATIENCE) -> typing.Iterator[Load]:
        """Send while the block runs, then until all is sent; fail if that takes *within* more seconds."""
        with watch() as stopwatch:
            for thread in self._threads:
                thread.start()
            try:
                yield self
            except BaseException:
                self.stop()
                raise
            finally:
                end = time.monotonic() + within
                for thread in self._threads:
                    thread.join(max(end - time.monotonic(), 0.0))
        self._late = stopwatch.late
        hung = [thread.name for thread in self._threads if thread.is_alive()]
        assert not hung, f"after {within} s these still send: {hung}; so far {self.counts}"

    def stop(self) -> None:
        """Begin no further call."""
        self._stopping.set()

    def wait_for(self, condition: typing.Callable[[Load], object], timeout: float) -> bool:
        """Wait until *condition* holds; it is asked after each call. False: it did not, within *timeout* seconds."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: condition(self), timeout))

    def confirm_more(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until so many more messages were confirmed."""
        confirmed = self.count(CONFIRMED)
        assert self.wait_for(lambda load: load.count(CONFIRMED) >= confirmed + count, timeout), self.counts

    def fail_more(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until so many more calls have failed."""
        failed = self.failed
        assert self.wait_for(lambda load: load.failed >= failed + count, timeout), self.counts

    def check(self, found: typing.Iterable[str], *, resent: bool = False) -> None:
        """Fail unless the rule held. *found* are the ids of the messages that were in the queue."""
        ended = len(self.calls)
        assert self._stopping.is_set() or ended == self.planned, f"{ended} of {self.planned} calls have ended"
        # The call itself, and with many threads the moment until Python lets the thread go on.
        limit = self._publisher.options.timeout + ALLOWED + self._late
        slow = [call for call in self.calls if call.seconds > limit]
        assert not slow, (
            f"{len(slow)} calls took longer than {limit:.3f} s: {[round(call.seconds, 3) for call in slow[:5]]}"
        )
        check_rule(self.calls, found, resent=resent)

    def _send_all(self, thread: int) -> None:
        for number in range(self._sends):
            if self._stopping.is_set():
                return
            message_id = f"{self._run}-{thread}-{number}"
            call = _send(self._publisher, self.destination, message_id)
            with self._changed:
                self.calls.append(call)
                self._counts[call.outcome] += 1
                self._changed.notify_all()
            wait = self._pace
            if isinstance(call.error, BrokerUnavailable):
                wait = max(wait, min(call.error.retry_after or 0.01, self._pause))
            if wait:
                self._stopping.wait(wait)


def _send(publisher: Publisher, destination: str, message_id: str) -> Call:
    began = time.monotonic()
    error: Exception | None = None
    outcome = CONFIRMED
    try:
        publisher.send(destination, message_id, {"x-message-id": message_id})
    except Exception as raised:  # noqa: BLE001 - whatever it is, `check_rule` judges it
        error = raised
        outcome = next((kind.__name__ for kind in _KINDS if isinstance(raised, kind)), repr(raised))
    return Call(message_id, outcome, error, time.monotonic() - began)


def check_rule(calls: typing.Iterable[Call], found: typing.Iterable[str], *, resent: bool = False) -> None:
    """Fail unless each outcome agrees with how often the message is among *found*."""
    in_queue = collections.Counter(found)
    wrong: list[str] = []
    for call in calls:
        copies = in_queue.pop(call.message_id, 0)
        if call.outcome == CONFIRMED:
            right = copies >= 1 if resent else copies == 1
        elif call.outcome == DeliveryUnknown.__name__:
            right = resent or copies <= 1
        else:
            right = copies == 0 and call.outcome in (NotSent.__name__, Rejected.__name__)
        if not right:
            wrong.append(f"{call.message_id}: {call.outcome}, {copies} times in the queue ({call.error})")
    assert not wrong, f"{len(wrong)} outcomes are wrong: " + "; ".join(wrong[:5])
    assert not in_queue, f"{len(in_queue)} messages that nobody sent: {list(in_queue)[:5]}"


def ids_in(messages: typing.Iterable[Frame]) -> list[str]:
    """The ids of the messages of the development broker."""
    return [message.headers["x-message-id"] for message in messages]


def make_queues(broker: RunningBroker, *destinations: str) -> None:
    """Make queues that outlive a kill, and restart the broker.

    RabbitMQ 3.10 may lose a durable queue, with all that it has confirmed, if it is killed soon after the queue was
    made: 1 of 40 kills. One that has outlived a restart in order is safe.
    """
    with Publisher(broker.url) as first:
        for destination in destinations:
            first.send(destination, "first")
    broker.restart()
    for destination in destinations:
        drain(broker, destination)


def drain(broker: RunningBroker, destination: str, headers: dict[str, str] | None = None) -> list[str]:
    """Read the queue to its end with a foreign client, and return the ids of the messages.

    A mark, sent behind all others, tells where the end is. *headers* are those of SUBSCRIBE and SEND.
    """
    found = []
    with ForeignClient(broker) as reader:
        # With auto the broker may lose what it has sent and the reader has not read; nobody reads after this one.
        reader.subscribe(destination, headers=headers)
        reader.send(destination, b"the end", {"x-message-id": "the end", **(headers or {})})
        while (message_id := reader.get().headers["x-message-id"]) != "the end":
            found.append(message_id)
    return found
