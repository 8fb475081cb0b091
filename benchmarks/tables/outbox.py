"""Messages by way of a database: PostgreSQL and RabbitMQ, both real, started as the tests start them."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator, Sequence

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.outcome import Outcome
from benchmarks.results import Cell, Table
from benchmarks.rounds import Entry, alternate, cell, pace, rate
from benchmarks.tables.brokers import Queue, started
from benchmarks.tables.rows import Row

_HERE = "benchmarks.contenders.outboxes:"
MANY = Row(
    "limit: send_many, no database", _HERE + "WithSqlAlchemy", "SQLAlchemy", ours=True, tasks={"relayed": "many"}
)
RELAY = Row("stomp-web, SQLAlchemy", _HERE + "WithSqlAlchemy", "SQLAlchemy", ours=True)
DJANGO = Row("stomp-web, Django", _HERE + "WithDjango", "django", ours=True)
PATTERN = Row("django-outbox-pattern, one by one", _HERE + "Pattern", "django-outbox-pattern")
BATCHES = (1, 100, 1000)
_RUN = 300.0  # seconds for one run
_BACKLOG = 1_000_000


def relayed(bench: Bench) -> Table:
    columns = {f"batches of {batch}": batch for batch in BATCHES}
    table = Table(
        "outbox",
        "Relayed from PostgreSQL to RabbitMQ, 200 B",
        "So many rows of 50 keys are in the table before a run, which ends when all are confirmed and their rows gone; "
        "the queue is then read out, and its messages are counted. The limit sends as many messages in batches of the "
        "same size, confirmed, and has no database. django-outbox-pattern does not wait for receipts and has no "
        "batches.",
        list(columns),
        ["messages/s"] * len(columns),
        limit=MANY.title,
    )
    rows = [(MANY, 1), (RELAY, 1), (RELAY.doing(f"{RELAY.title}, 2 relays"), 2), (DJANGO, 1), (PATTERN, 1)]
    with _servers(bench) as base:
        if base is None:
            return table
        for label, batch in columns.items():
            entries = []
            for number, (row, relays) in enumerate(rows):
                if bench.has(row.title, row.needs) and (row is not PATTERN or batch == BATCHES[-1]):
                    case = dataclasses.replace(
                        base,
                        task=row.tasks.get("relayed", "relayed"),
                        destination=f"/queue/outbox-{batch}-{number}",
                        threads=relays,
                        length=batch,
                    )
                    # One by one, a run is long enough with fewer.
                    fixed = 300 if batch == 1 else 1000 if row is PATTERN else 10_000
                    entries.append(_entry(row, label, case, fixed, Queue(case)))
            _put(bench, table, entries, rate)
    return table


def backlog(bench: Bench) -> Table:
    slowdown, memory, speed = "rate at the end / at the start", "memory, more at the end", "relayed"
    table = Table(
        "outbox-backlog",
        f"A backlog of {_BACKLOG:,} rows, 200 B".replace(",", " "),
        "One relay, batches of 1000. The rates are those of the first and the last tenth.",
        [speed, slowdown, memory],
        ["messages/s", "times", "KiB"],
    )
    with _servers(bench) as base:
        if base is None or not bench.has(RELAY.title, RELAY.needs):
            return table
        case = dataclasses.replace(base, task="backlog", destination="/queue/outbox-backlog", length=1000)
        entry = _entry(RELAY, speed, case, _BACKLOG, Queue(case), limit=3600.0)
        series = alternate(bench, table.name, [entry], repeat=1)[RELAY.title, speed]
        table.put(RELAY.title, speed, cell(series, rate))
        table.put(RELAY.title, slowdown, cell(series, lambda outcome: outcome.numbers["slowdown"]))
        table.put(RELAY.title, memory, cell(series, lambda outcome: outcome.numbers["memory"]))
        bench.dismiss()
    return table


def latency(bench: Bench) -> Table:
    median, p99 = "median", "99 of 100"
    table = Table(
        "outbox-latency",
        "From the commit to a subscriber, 200 B",
        "One message after the other. The time begins with the commit, and ends when a subscriber of RabbitMQ has the "
        "message. Less is better.",
        [median, p99],
        ["ms", "ms"],
        first_heading="how the relay learns of it",
    )
    ways = [
        ("NOTIFY", "notified", ""),
        ("inline: the process that commits sends", "inline", ""),
        ("it asks every 0.1 s", "notified", "0.1"),
    ]
    with _servers(bench) as base:
        if base is None or not bench.has(RELAY.title, RELAY.needs):
            return table
        entries = []
        for number, (title, task, asks) in enumerate(ways):
            case = dataclasses.replace(
                base, task=task, destination=f"/queue/outbox-latency-{number}", input=asks, length=500
            )
            entries.append(_entry(RELAY.doing(title), median, case, 20 if asks else 200))
        series = alternate(bench, table.name, entries)
        for (row, _), one in series.items():
            table.put(row, median, cell(one, lambda outcome: outcome.waits["median"]))
            table.put(row, p99, cell(one, lambda outcome: outcome.waits["p99"]))
        bench.dismiss()
    return table


def cost(bench: Bench) -> Table:
    alone, both, added = "the INSERT alone", "with send", "added"
    table = Table(
        "outbox-send",
        "Added to a transaction by one message, 200 B",
        "A transaction that inserts one row through SQLAlchemy's ORM, with and without a message in the outbox. Less "
        "is better.",
        [alone, both, added],
        ["us"] * 3,
    )
    with _servers(bench) as base:
        if base is None or not bench.has(RELAY.title, RELAY.needs):
            return table
        entries = [
            _entry(RELAY, label, dataclasses.replace(base, task=task), 500)
            for label, task in ((alone, "inserting"), (both, "sending"))
        ]
        _put(bench, table, entries, pace)
        less, more = (table.cell(RELAY.title, label).values for label in (alone, both))
        if less and more:
            table.put(RELAY.title, added, Cell([much - little for little, much in zip(less, more, strict=False)]))
    return table


class _NotCounted:
    """No queue to look into."""

    def reset(self) -> None:
        """Nothing."""

    def compare(self, outcome: Outcome) -> None:
        """Nothing."""


def _entry(row: Row, label: str, case: Case, fixed: int, counter: typing.Any = None, limit: float = _RUN) -> Entry:
    return Entry(
        row.title, label, row.contender, case, row.ours, fixed=fixed, limit=limit, counter=counter or _NotCounted()
    )


def _put(bench: Bench, table: Table, entries: Sequence[Entry], value: Callable[[Outcome], float]) -> None:
    series = alternate(bench, table.name, entries)
    for (row, label), one in series.items():
        table.put(row, label, cell(one, value, series.get((table.limit or "", label))))
    bench.dismiss()


@contextlib.contextmanager
def _servers(bench: Bench) -> Iterator[Case | None]:
    """Start both; the case has their addresses. ``None`` where one is not installed."""
    from tests.brokers.rabbitmq import RabbitMQ
    from tests.django.postgres import Postgres

    missing = RabbitMQ.missing() or Postgres.missing()
    if missing is not None:
        bench.skipped["outbox"] = missing
    if missing is not None or not bench.has("outbox", "trustme"):
        yield None
        return
    bench.progress("outbox: starting")
    server = Postgres()
    with contextlib.closing(server), started(RabbitMQ()) as broker:
        server.start()
        yield Case(
            "",
            broker.host,
            broker.port,
            broker.login,
            broker.passcode,
            database=f"postgresql+psycopg://{server.database['USER']}@{server.host}:{server.port}/postgres",
        )
