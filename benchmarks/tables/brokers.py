"""Real brokers, where they are installed: started as the tests start them.

There is no sink here, so whoever counts is a look into the queue: every message is read out again after each run.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator

from benchmarks.bench import Bench, Lost
from benchmarks.case import Case
from benchmarks.contenders.raw import RawConnection
from benchmarks.outcome import Outcome
from benchmarks.results import Table
from benchmarks.rounds import Entry, alternate, cell, rate
from benchmarks.tables.rows import LIMIT, PEERS, WEB_CLIENT, WEB_PUBLISHER, Row

if typing.TYPE_CHECKING:
    from tests.brokers.running import RunningBroker

_LIMIT = LIMIT.doing("limit: raw socket")
_PATIENCE = 10.0  # seconds without a message, after which no more is expected


class Queue:
    """A queue of the broker, which is read empty after each run."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def reset(self) -> None:
        """Nothing is in it: whatever was, has been read."""

    def compare(self, outcome: Outcome) -> None:
        connection = RawConnection(self._case)
        connection.socket.settimeout(_PATIENCE)
        connection.send(f"SUBSCRIBE\nid:1\ndestination:{self._case.destination}\nack:auto\n\n\0".encode())
        came = 0
        try:
            while came < outcome.sent:
                data = connection.socket.recv(1_048_576)
                if not data:
                    break
                came += data.count(b"\0")
            connection.send(b"UNSUBSCRIBE\nid:1\nreceipt:2\n\n\0")
            rest = b""
            while b"RECEIPT" not in rest:
                rest += connection.socket.recv(65536)
            came += rest.count(b"MESSAGE\n")
        except TimeoutError:
            pass
        finally:
            connection.socket.close()
        if came != outcome.sent:
            raise Lost(f"LOST: it says that it has sent {outcome.sent}, and {came} were in the queue")


@contextlib.contextmanager
def started(broker: RunningBroker) -> Iterator[RunningBroker]:
    """The broker, running until the block ends."""
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def rabbitmq(bench: Bench) -> Table:
    from tests.brokers.rabbitmq import RabbitMQ

    return _measure(bench, "rabbitmq", "RabbitMQ", RabbitMQ)


def activemq(bench: Bench) -> Table:
    from tests.brokers.activemq import ActiveMQ

    return _measure(bench, "activemq", "ActiveMQ", ActiveMQ)


def _measure(bench: Bench, name: str, title: str, kind: type[RunningBroker]) -> Table:
    cases = {
        "unconfirmed": ("unconfirmed", 1),
        "confirmed": ("confirmed", 1),
        "three sends, the last one confirmed": ("three", 1),
        "connect per request": ("connect", 1),
        "8 threads, confirmed": ("confirmed", 8),
    }
    table = Table(
        name,
        f"Against {title}, 200 B",
        "After each run the queue is read out, and its messages are counted."
        " The third and fourth column are requests a second.",
        list(cases),
        ["messages/s", "messages/s", "requests/s", "requests/s", "messages/s"],
        limit=_LIMIT.title,
    )
    missing = kind.missing()
    if missing is not None:
        bench.skipped[title] = missing
    if missing is not None or not bench.has(title, "trustme"):  # its configuration has certificates
        return table
    from tests.brokers.running import BrokerFailed

    bench.progress(f"{name}: starting")
    try:
        with started(kind()) as broker:
            table.title = f"Against {broker}, 200 B"
            rows = [row for row in (_LIMIT, WEB_CLIENT, WEB_PUBLISHER, *PEERS) if bench.has(row.title, row.needs)]
            for label, (task, threads) in cases.items():
                entries = [
                    _entry(row, number, label, task, threads, broker)
                    for number, row in enumerate(rows)
                    if threads == 1 or row is not WEB_CLIENT
                ]
                series = alternate(bench, name, entries)
                for row in rows:
                    if (row.title, label) in series:
                        one = series[row.title, label]
                        table.put(row.title, label, cell(one, rate, series.get((_LIMIT.title, label))))
            bench.dismiss()
    except BrokerFailed as error:
        bench.problem(f"{title} did not start: {str(error).splitlines()[0]}")
    return table


def _entry(row: Row, number: int, label: str, task: str, threads: int, broker: RunningBroker) -> Entry:
    case = Case(
        task,
        broker.host,
        broker.port,
        broker.login,
        broker.passcode,
        destination=f"/queue/bench-{task}-{threads}-{number}",
        threads=threads,
    )
    most = 300 if task == "connect" else 50_000
    return Entry(row.title, label, row.contender, case, row.ours, most=most, counter=Queue(case))
