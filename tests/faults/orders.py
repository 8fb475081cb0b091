"""The processes of the proof that an outbox loses nothing: producers that commit orders, workers that receive them.

::

    python -m tests.faults.orders produce NUMBER COUNT DATABASE QUEUE FOLDER
    python -m tests.faults.orders receive URL DATABASE QUEUE

Each may be killed at any moment. A producer that is started again goes on where its journal ends. The database is the
judge of what was committed: an order whose commit was interrupted may be there or not.
"""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import time
import typing
from pathlib import Path

import sqlalchemy
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, select
from sqlalchemy.orm import Session, sessionmaker

from stomp_web import Publisher
from stomp_web.sqlalchemy import Inbox, Outbox
from stomp_web.worker import ReceivedMessage, Worker
from stomp_web.worker.command import run_worker
from tests.brokers.running import PATIENCE

__all__ = ["KEYS", "ORDERS", "OUTBOX", "RECEIVED", "Journal", "allow", "copies_of", "create", "dead_letters_of"]

KEYS: typing.Final = tuple(f"key-{number:02}" for number in range(50))
#: An order is in ``PRODUCER * 1_000_000 + NUMBER``.
_MOST: typing.Final = 1_000_000
_ALLOWED: typing.Final = "allowed.txt"

# The database of the producers. A counter's row is locked until the order is committed, so that the orders of a key are
# numbered in the order of their commits, without a gap.
_sending = MetaData()
_COUNTERS: typing.Final = Table(
    "counters", _sending, Column("key", String(20), primary_key=True), Column("last", Integer, nullable=False)
)
ORDERS: typing.Final = Table(
    "orders",
    _sending,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("key", String(20), nullable=False),
    Column("number", Integer, nullable=False),
    Column("message_id", String(100), nullable=False),
    Column("copy_id", String(100), nullable=False),
)
OUTBOX: typing.Final = Outbox(_sending, Publisher("null://"))

# The database of the workers. Nothing in the table of orders keeps one from being written twice: the inbox has to.
_receiving = MetaData()
RECEIVED: typing.Final = Table(
    "received",
    _receiving,
    Column("row", Integer, primary_key=True),
    Column("id", BigInteger, nullable=False, index=True),
    Column("message_id", String(100), nullable=False),
)
_sessions = sessionmaker()
_INBOX: typing.Final = Inbox(_receiving, _sessions)


def copies_of(queue: str) -> str:
    """The queue of the workers: each order is sent to both."""
    return f"{queue}-copies"


def dead_letters_of(queue: str) -> str:
    """The queue of what the workers gave up."""
    return f"{queue}-dead"


def create(sending: str, receiving: str) -> None:
    """Make the tables in both databases."""
    for database, metadata in ((sending, _sending), (receiving, _receiving)):
        engine = sqlalchemy.create_engine(database)
        metadata.create_all(engine)
        if metadata is _sending:
            with engine.begin() as connection:
                connection.execute(_COUNTERS.insert(), [{"key": key, "last": 0} for key in KEYS])
        engine.dispose()


# -- producers ------------------------------------------------------------------------------------------------


class Journal:
    """What one producer has done: a file to which each line is written at once, so that it outlives the process."""

    def __init__(self, folder: Path, number: int) -> None:
        self.path = folder / f"producer-{number}.txt"
        self._first = number * _MOST

    def position(self) -> int:
        """How many orders were begun, read from the end of the file."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - 100, 0))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return 0
        return int(lines[-1].split()[1]) - self._first + 1 if lines else 0

    def orders(self) -> dict[str, set[int]]:
        """The orders by what was noted: ``commit`` - the commit began; ``committed``; ``rolled-back``."""
        found: dict[str, set[int]] = {"commit": set(), "committed": set(), "rolled-back": set()}
        for line in self.path.read_text().splitlines():
            word, order = line.split()
            found[word].add(int(order))
        return found


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What becomes of an order: the same at each try."""

    key: str
    rolls_back: bool
    copy_has_key: bool

    @classmethod
    def of(cls, order: int) -> _Plan:
        random_ = random.Random(order)
        return cls(random_.choice(KEYS), random_.random() < 0.2, random_.random() < 0.5)


def allow(folder: Path, count: int) -> None:
    """Let each producer do *count* orders, counted from the first."""
    new = folder / f"{_ALLOWED}.new"
    new.write_text(str(count))
    new.replace(folder / _ALLOWED)


def _wait_until_allowed(folder: Path, position: int) -> None:
    while int((folder / _ALLOWED).read_text()) <= position:
        time.sleep(0.005)  # the process ends with the test, which has deadlines


def _place(session: Session, order: int, plan: _Plan, queue: str) -> None:
    """Write an order and its two messages into the transaction."""
    of_key = _COUNTERS.c.key == plan.key
    session.execute(_COUNTERS.update().where(of_key).values(last=_COUNTERS.c.last + 1))
    number = session.execute(select(_COUNTERS.c.last).where(of_key)).scalar_one()
    payload = {"order": order, "key": plan.key}
    message_id = OUTBOX.send(session, queue, payload, key=plan.key)
    copy_id = OUTBOX.send(session, copies_of(queue), payload, key=plan.key if plan.copy_has_key else None)
    row = {"id": order, "key": plan.key, "number": number, "message_id": message_id, "copy_id": copy_id}
    session.execute(ORDERS.insert().values(row))


def _produce(number: int, count: int, database: str, queue: str, folder: Path) -> None:
    engine = sqlalchemy.create_engine(database, pool_pre_ping=True)
    journal = Journal(folder, number)
    file = os.open(journal.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(word: str, order: int) -> None:
        os.write(file, f"{word} {order}\n".encode())

    position = journal.position()
    failed_since: float | None = None
    print(f"producer {number} goes on with order {position}", flush=True)
    while position < count:
        _wait_until_allowed(folder, position)
        order = number * _MOST + position
        plan = _Plan.of(order)
        begun = False
        try:
            with Session(engine) as session:
                _place(session, order, plan, queue)
                if plan.rolls_back:
                    session.rollback()
                    note("rolled-back", order)
                else:
                    begun = True
                    note("commit", order)
                    session.commit()
                    note("committed", order)
            position += 1
            failed_since = None
        except sqlalchemy.exc.DBAPIError as error:
            failed_since = failed_since or time.monotonic()
            if time.monotonic() - failed_since > PATIENCE:  # the database does not come back
                raise
            print(f"order {order}, {'in' if begun else 'before'} its commit: {type(error).__name__}", flush=True)
            position += begun  # whether it was committed is not known
            time.sleep(0.02)


# -- workers --------------------------------------------------------------------------------------------------


def _receive_one(message: ReceivedMessage, session: Session) -> None:
    """The handler."""
    order = typing.cast(dict[str, typing.Any], message.payload)["order"]
    session.execute(RECEIVED.insert().values(id=order, message_id=message.id))


def _receive(url: str, database: str, queue: str) -> int:
    _sessions.configure(bind=sqlalchemy.create_engine(database, pool_pre_ping=True))
    # While its database is away, each message fails. It is to be handled all the same, and not to become a dead letter.
    worker = Worker(
        url,
        concurrency=4,
        max_redeliveries=1000,
        retry_delay=0.05,
        dead_letter=dead_letters_of(queue),
        inbox=_INBOX,
    )
    worker.subscribe(copies_of(queue), once=True)(_receive_one)
    return run_worker(worker)


def _main(action: str, *arguments: str) -> int:
    if action == "receive":
        url, database, queue = arguments
        return _receive(url, database, queue)
    number, count, database, queue, folder = arguments
    _produce(int(number), int(count), database, queue, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
