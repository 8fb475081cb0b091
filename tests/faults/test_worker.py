"""A worker on real brokers that are killed and started again, and with a process of its own that is killed.

How many messages there are: 8 for each fault that `--faults` orders; 100,000 with ``--faults=12500``. A handler that
takes long takes 30 seconds with that number, and less with fewer.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import threading
import time
import typing
import uuid
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from stomp_web import PublishClient, Publisher
from stomp_web.pool import breaker
from stomp_web.worker import Worker
from tests.brokers import fleet
from tests.brokers.beats import one_survives
from tests.brokers.running import PATIENCE, RunningBroker
from tests.brokers.traits import needs
from tests.faults import journal
from tests.faults.clock import eventually
from tests.faults.load import drain
from tests.faults.resources import holding, unchanged
from tests.worker.running import Notes, Running

REAL = pytest.mark.parametrize("broker", fleet.REAL, indirect=True)

# Messages in one transaction, for which ActiveMQ writes to its disk once.
_TOGETHER = 500


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    return max(8 * int(request.config.option.faults), 1000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> typing.Iterator[Path]:
    """Where `journal.note` writes. Of few messages each takes a moment, or all were handled before the first kill."""
    monkeypatch.setenv(journal.FOLDER, str(tmp_path))
    monkeypatch.setenv(journal.PAUSE, "0.002" if count < 10_000 else "0")
    yield tmp_path
    journal.forget()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that looks for its broker every second: that is waited for, and not the patience of the back-off."""
    monkeypatch.setattr(breaker, "LONGEST_PAUSE", 1.0)


def fill(broker: RunningBroker, destination: str, count: int) -> list[str]:
    """Put so many messages into the queue, and return their ids, in order."""
    run = uuid.uuid4().hex[:8]
    ids = [f"{run}-{number}" for number in range(count)]
    with PublishClient.from_url(broker.url) as client:
        for start in range(0, count, _TOGETHER):
            with client.transaction() as transaction:
                for message_id in ids[start : start + _TOGETHER]:
                    transaction.send(
                        destination,
                        b"{}",
                        {"x-message-id": message_id, "persistent": "true"},
                        content_type="application/json",
                    )
    # RabbitMQ 3.10 may lose a durable queue, with all that it has confirmed, if it is killed soon after the queue was
    # made: 1 of 40 kills. One that has outlived a restart in order is safe.
    broker.restart()
    return ids


@contextlib.contextmanager
def running(worker: Worker) -> typing.Iterator[Running]:
    run = Running(worker)
    try:
        yield run.alive()
    finally:
        worker.stop()
        assert run.ended(PATIENCE)
        assert run.error is None, run.error
    assert run.code == 0


def wait_for(folder: Path, count: int, seconds: float = PATIENCE) -> None:
    """Wait until so many messages were handled."""
    end = time.monotonic() + seconds
    never = threading.Event()
    while (handled := journal.handled(folder)) < count:
        assert time.monotonic() < end, f"{handled} of {count} messages were handled in {seconds} s"
        never.wait(0.1)


def handle_the_rest(worker: Worker, broker: RunningBroker, queue: str, folder: Path) -> list[journal.Entry]:
    """Wait until the worker has handled all that is in the queue, and return what it has handled.

    A broker that was killed gives out again some that were acknowledged: it had not written that down yet. A mark, sent
    behind all of them, tells where the end is. The worker then has nothing more to do for a second, which is longer
    than its pause before it tries a message again.
    """
    assert eventually(lambda: worker.is_alive), f"the worker does not come back: {worker.stats()}"
    mark = f"mark-{uuid.uuid4().hex}"
    with PublishClient.from_url(broker.url) as client:
        client.send(queue, b"{}", {"x-message-id": mark}, content_type="application/json", confirm=True)

    def handled() -> bool:
        return any(entry.message_id == mark for entry in journal.entries(folder))

    assert eventually(handled), f"the mark was not handled: {worker.stats()}"
    end = time.monotonic() + PATIENCE
    quiet_since, seen = time.monotonic(), worker.stats().received
    never = threading.Event()
    while time.monotonic() - quiet_since < 1.0:
        assert time.monotonic() < end, f"still busy: {worker.stats()}"
        never.wait(0.05)
        stats = worker.stats()
        if stats.received != seen or stats.in_flight or stats.waiting or not worker.is_alive:
            quiet_since, seen = time.monotonic(), stats.received
    return [entry for entry in journal.entries(folder) if entry.message_id != mark]


def children() -> list[int]:
    """The processes in which handlers run: those children of this process that have a pipe to it."""
    own = os.getpid()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == own and state != "Z" and b"spawn_main" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


@REAL
@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [{"concurrency": 8}, {"processes": 2}], ids=["8 threads", "2 processes"])
def test_nothing_is_lost_while_the_broker_is_killed_three_times_and_a_process_once(
    broker: RunningBroker, queue: str, folder: Path, count: int, options: dict[str, typing.Any]
) -> None:
    resource_tracker.ensure_running()  # multiprocessing's own; it stays, with a pipe
    before = holding()
    ids = fill(broker, queue, count)
    worker = Worker(broker.url, prefetch=64, **options)
    worker.subscribe(queue)(journal.note)
    began = time.monotonic()
    with running(worker):
        for part in (0.15, 0.4, 0.65):
            wait_for(folder, int(count * part))
            assert eventually(lambda: worker.is_alive)
            broker.kill()
            broker.start()
        if worker.processes:
            wait_for(folder, int(count * 0.8))
            victim = children()[0]
            os.kill(victim, signal.SIGKILL)
        wait_for(folder, count)
        entries = handle_the_rest(worker, broker, queue, folder)
        if worker.processes:
            assert victim not in children()
            assert eventually(lambda: len(children()) == worker.processes)
    seconds = time.monotonic() - began
    assert {entry.message_id for entry in entries} == set(ids)
    again = [
        message_id
        for message_id, times in collections.Counter(entry.message_id for entry in entries).items()
        if times > 1
    ]
    if broker.traits.remembers_deliveries:
        # One of the copies may be the first, and all others say that they may not be.
        fresh = collections.Counter(entry.message_id for entry in entries if not entry.redelivered)
        assert max(fresh.values()) == 1
    assert drain(broker, queue) == []  # each was acknowledged in the end
    stats = worker.stats()
    assert stats.connects >= 4
    journal.forget()
    unchanged(before)
    print(f"{broker}: {count} messages in {seconds:.1f} s, {len(again)} of them more than once; {stats}")


@REAL
@pytest.mark.timeout(600)
def test_with_concurrency_1_the_order_is_kept_over_three_kills(
    broker: RunningBroker, queue: str, folder: Path, count: int
) -> None:
    ids = fill(broker, queue, count // 5)
    worker = Worker(broker.url, concurrency=1, prefetch=20)
    worker.subscribe(queue)(journal.note)
    with running(worker):
        for part in (0.2, 0.4, 0.6):
            wait_for(folder, int(len(ids) * part))
            assert eventually(lambda: worker.is_alive)
            broker.kill()
            broker.start()
        wait_for(folder, len(ids))
    first_times = list(dict.fromkeys(entry.message_id for entry in journal.entries(folder)))
    assert first_times == ids


@REAL
@pytest.mark.timeout(600)
def test_a_window_of_duplicates_drops_what_was_handled_and_not_acknowledged(
    broker: RunningBroker, queue: str, folder: Path, count: int
) -> None:
    ids = fill(broker, queue, count // 5)
    worker = Worker(broker.url, concurrency=4, prefetch=50, deduplicate=len(ids))
    worker.subscribe(queue)(journal.note)
    with running(worker):
        wait_for(folder, len(ids) // 3)
        broker.kill()
        broker.start()
        wait_for(folder, len(ids))
        entries = handle_the_rest(worker, broker, queue, folder)
    assert sorted(entry.message_id for entry in entries) == sorted(ids)
    assert drain(broker, queue) == []


@REAL
@pytest.mark.timeout(600)
def test_a_handler_that_takes_long_keeps_its_connection(
    broker: RunningBroker, queue: str, request: pytest.FixtureRequest
) -> None:
    """RabbitMQ and ActiveMQ part with a client after three seconds without the beats that it has promised."""
    faults = request.config.option.faults
    at_least = 30.0 if faults > 10_000 else 8.0 if faults >= 1000 else 0.0

    def check(beat: int, idle: float) -> None:
        seconds = max(idle, at_least)
        slow = Notes(lambda message: threading.Event().wait(seconds))
        worker = Worker(broker.url, concurrency=1, heart_beat=(beat, beat))
        worker.subscribe(f"{queue}-{beat}")(slow)
        with running(worker), Publisher(broker.url) as publisher:
            publisher.send(f"{queue}-{beat}", 1)
            slow.wait(1)
            assert eventually(lambda: worker.stats().handled == 1, seconds + PATIENCE)
        assert worker.stats().connects == 1
        assert worker.stats().stale == 0
        assert len(slow.messages) == 1
        assert drain(broker, f"{queue}-{beat}") == []

    one_survives(check)


@REAL
def test_a_stop_in_the_middle_of_a_handler_acknowledges_and_nothing_is_handled_twice(
    broker: RunningBroker, queue: str
) -> None:
    release = threading.Event()
    first, second = Notes(lambda message: release.wait(PATIENCE)), Notes()
    worker = Worker(broker.url, concurrency=2, prefetch=10)
    worker.subscribe(queue)(first)
    with running(worker) as run, Publisher(broker.url) as publisher:
        publisher.send_many([(queue, number) for number in range(10)])
        first.wait(2)
        worker.stop()
        release.set()
        assert run.ended(PATIENCE)
    other = Worker(broker.url)
    other.subscribe(queue)(second)
    with running(other):
        second.wait(8)
    assert sorted(first.payloads + second.payloads) == list(range(10))
    assert drain(broker, queue) == []


@REAL
def test_a_message_that_fails_is_delivered_again_and_buried_in_the_end(broker: RunningBroker, queue: str) -> None:
    def fail(message: typing.Any) -> None:
        raise LookupError("always")

    notes, dead = Notes(fail), f"{queue}-dead"
    worker = Worker(broker.url, retry_delay=0.01, max_redeliveries=3, dead_letter=dead)
    worker.subscribe(queue)(notes)
    with running(worker), Publisher(broker.url) as publisher:
        message_id = publisher.send(queue, 1)
        assert eventually(lambda: worker.stats().dead_lettered == 1)
    assert [message.redelivered for message in notes.messages] == [False, True, True, True]
    assert drain(broker, dead) == [message_id]
    assert drain(broker, queue) == []


@REAL
def test_prefetch_1_leaves_the_rest_to_others(broker: RunningBroker, queue: str) -> None:
    needs(broker, "keeps_on_disk")
    release = threading.Event()
    slow, quick = Notes(lambda message: release.wait(PATIENCE)), Notes()
    with Publisher(broker.url) as publisher:
        publisher.send_many([(queue, number) for number in range(20)])
    one, other = (Worker(broker.url, concurrency=1, prefetch=1) for _ in range(2))
    one.subscribe(queue)(slow)
    other.subscribe(queue)(quick)
    with running(one):
        slow.wait(1)
        with running(other):
            quick.wait(19)
        release.set()
        assert eventually(lambda: one.stats().handled == 1)
    assert sorted(slow.payloads + quick.payloads) == list(range(20))


@REAL
def test_an_ack_of_one_handler_is_none_for_the_messages_of_another(broker: RunningBroker, queue: str) -> None:
    """RabbitMQ 3.10 takes a cumulative ACK for all subscriptions of the connection."""
    release = threading.Event()
    slow, quick = Notes(lambda message: release.wait(PATIENCE)), Notes()
    worker = Worker(broker.url)
    worker.subscribe(f"{queue}-slow")(slow)
    worker.subscribe(f"{queue}-quick", ack="client")(quick)
    with running(worker), Publisher(broker.url) as publisher:
        publisher.send(f"{queue}-slow", 0)
        slow.wait(1)
        publisher.send_many([(f"{queue}-quick", number) for number in range(20)])
        quick.wait(20)
        release.set()
        assert eventually(lambda: worker.stats().handled == 21)
    assert worker.stats().connects == 1
    assert worker.stats().stale == 0
    assert drain(broker, f"{queue}-quick") == drain(broker, f"{queue}-slow") == []
