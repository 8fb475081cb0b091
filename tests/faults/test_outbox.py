"""An outbox in PostgreSQL, and real brokers: everything between them is killed, again and again.

How many transactions there are: 4 for each fault that `--faults` orders, 800 at least.
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
import typing
import uuid

import pytest

from stomp_web import Publisher
from tests.brokers import fleet
from tests.brokers.foreign import ForeignClient
from tests.brokers.running import PATIENCE, RunningBroker
from tests.django import postgres

sqlalchemy = pytest.importorskip("sqlalchemy")

# The two of RabbitMQ, and one that keeps messages in another way.
BROKERS = ("rabbitmq", "rabbitmq4", "activemq")

KEYS = 20
PRODUCERS = 4
RELAYS = 3


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> typing.Iterator[postgres.Postgres]:
    yield from postgres.provided(request)


@pytest.fixture
def database(server: postgres.Postgres) -> str:
    name = f"test_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return f"postgresql+psycopg://{server.database['USER']}@{server.host}:{server.port}/{name}"


class Producer(threading.Thread):
    """Commits orders with their messages, rolls some back, and waits for a database that is away."""

    def __init__(self, number: int, database: str, queue: str, count: int) -> None:
        super().__init__(name=f"producer-{number}")
        self._number, self._database, self._queue, self._count = number, database, queue, count
        #: By key: the numbers of the orders that were committed, or may have been, in order.
        self.committed: dict[str, list[int]] = collections.defaultdict(list)
        self.uncertain: set[int] = set()
        self.rolled_back: set[int] = set()
        self.done = 0
        self.given_up = threading.Event()

    def run(self) -> None:
        from sqlalchemy.orm import Session

        from stomp_web.sqlalchemy import Outbox

        random_ = random.Random(self._number)
        engine = sqlalchemy.create_engine(self._database, pool_pre_ping=True)
        outbox = Outbox(sqlalchemy.MetaData(), Publisher("null://"))
        for each in range(self._count):
            order = self._number * 1_000_000 + each
            key = f"{self._number}-{random_.randrange(KEYS // PRODUCERS)}"
            rolls_back = random_.random() < 0.2
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    with Session(engine) as session:
                        outbox.send(session, self._queue, {"order": order, "key": key}, key=key)
                        if rolls_back:
                            session.rollback()
                            self.rolled_back.add(order)
                            break
                        self.uncertain.add(order)  # until the commit has returned
                        session.commit()
                        self.committed[key].append(order)
                        self.uncertain.discard(order)
                        break
                except sqlalchemy.exc.OperationalError:
                    assert time.monotonic() < end, "the database did not come back"
                    if order in self.uncertain:
                        break  # whether it was committed is not known
                    if self.given_up.wait(0.05):
                        return
            self.done = each + 1
        engine.dispose()


class Relays:
    """Processes of ``stomp-web relay``, one of which can be killed, and is replaced."""

    def __init__(self, database: str, url: str) -> None:
        self._command = [
            *(sys.executable, "-m", "stomp_web", "relay", "--database", database, "--url", url, "--poll", "0.2"),
            *("--batch", "50"),
        ]
        self._processes = [self._start() for _ in range(RELAYS)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_one(self, number: int) -> None:
        process = self._processes[number % RELAYS]
        assert process.poll() is None, "a relay has ended by itself"
        process.kill()
        process.wait(PATIENCE)
        self._processes[number % RELAYS] = self._start()

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            assert process.wait(PATIENCE) in {0, 130, -signal.SIGTERM}  # the last two: it was just starting


def read(broker: RunningBroker, queue: str) -> list[tuple[str, int, str]]:
    """Key, order and id of the messages in the queue, in order, with a foreign client."""
    found = []
    with ForeignClient(broker) as reader:
        reader.subscribe(queue)
        reader.send(queue, b"the end", {"x-message-id": "the end"})
        while (frame := reader.get()).headers["x-message-id"] != "the end":
            body = json.loads(frame.body)
            found.append((body["key"], body["order"], frame.headers["x-message-id"]))
    return found


@pytest.mark.parametrize("broker", [each for each in fleet.REAL if each in BROKERS], indirect=True)
@pytest.mark.timeout(420)
def test_what_was_committed_arrives_in_the_order_of_its_key_whatever_is_killed(
    broker: RunningBroker, queue: str, server: postgres.Postgres, database: str, faults: int
) -> None:
    from stomp_web.sqlalchemy import Outbox

    count = max(4 * faults, 800) // PRODUCERS
    with Publisher("null://") as nowhere:
        metadata = sqlalchemy.MetaData()
        outbox = Outbox(metadata, nowhere)
        engine = sqlalchemy.create_engine(database, pool_pre_ping=True)
        metadata.create_all(engine)
    with Publisher(broker.url) as first:
        first.send(queue, {"key": "", "order": -1}, {"x-message-id": "first"})
    broker.restart()  # a queue of RabbitMQ that has outlived a restart is safe, see test_worker
    producers = [Producer(number, database, queue, count) for number in range(1, PRODUCERS + 1)]
    relays = Relays(database, broker.url)
    try:
        for producer in producers:
            producer.start()
        for kill in range(6):
            wait_for(lambda share=(kill + 1) * count // 8: all(each.done >= share for each in producers))
            relays.kill_one(kill)
            if kill == 2:
                broker.kill()
                broker.start()
            if kill == 4:
                server.kill()
                server.go_on()
        for producer in producers:
            producer.join(PATIENCE)
            assert not producer.is_alive()
        store = outbox.store(engine)
        wait_for(lambda: (numbers := counted(store)) is not None and numbers.pending + numbers.waiting == 0)
        assert store.stats().failed == 0
    finally:
        for producer in producers:
            producer.given_up.set()
        relays.stop()
        engine.dispose()

    arrived = [each for each in read(broker, queue) if each[1] >= 0]
    ids: dict[int, set[str]] = collections.defaultdict(set)
    first_arrivals: dict[str, list[int]] = collections.defaultdict(list)
    for key, order, message_id in arrived:
        if order not in ids:
            first_arrivals[key].append(order)
        ids[order].add(message_id)
    assert all(len(copies) == 1 for copies in ids.values())
    uncertain = set().union(*(each.uncertain for each in producers))
    for producer in producers:
        assert not producer.rolled_back & ids.keys()
        for key, orders in producer.committed.items():
            assert [order for order in first_arrivals[key] if order not in uncertain] == orders
            assert first_arrivals[key] == sorted(first_arrivals[key])


def counted(store: typing.Any) -> typing.Any:
    with contextlib.suppress(sqlalchemy.exc.OperationalError):
        return store.stats()


def wait_for(condition: typing.Callable[[], object]) -> None:
    end = time.monotonic() + 2 * PATIENCE
    never = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        never.wait(0.05)
