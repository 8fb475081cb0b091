"""The proof that an outbox and an inbox lose nothing: producers, relays, workers, broker and database are killed.

It is the same for every database: `Proof.run` kills each of them while orders are placed, and then compares the orders
that were committed with those in the queue, and with those that the workers have written.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import typing
from pathlib import Path

import sqlalchemy
from sqlalchemy import func, select
from sqlalchemy.pool import NullPool

from tests.brokers.foreign import ForeignClient
from tests.brokers.running import PATIENCE, Process, RunningBroker
from tests.faults import orders
from tests.faults.load import make_queues

__all__ = ["Database", "Group", "Program", "Proof", "Relays", "Size", "counted", "read", "wait_for"]

PRODUCERS: typing.Final = 8
RELAYS: typing.Final = 3
WORKERS: typing.Final = 2

_ROOT: typing.Final = Path(__file__).parents[2]
_AHEAD: typing.Final = 3  # parts that producers may place while something is killed, and starts again
_SHOWN: typing.Final = 10  # how many orders a failure names


class Database(typing.Protocol):
    """A server that can be killed."""

    def kill(self) -> None:
        """End it at once."""

    def go_on(self) -> None:
        """Start it with the data that it has."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a proof is.

    `transactions` - of each producer; `kills` - of producers, of relays and of workers; `restarts` - kills of the
    broker, and of the database.
    """

    transactions: int
    kills: int
    restarts: int

    @classmethod
    def of(cls, faults: int) -> Size:
        """The size for *faults*: with 1250, each producer has 5,000 transactions, and each kind is killed 10 times."""
        return cls(max(4 * faults, 60), max(faults // 125, 2), max(faults // 125, 1))


def wait_for(
    condition: typing.Callable[[], object],
    text: typing.Callable[[], str] = lambda: "it did not happen in time",
    progress: typing.Callable[[], object] = lambda: None,
) -> None:
    """Wait until *condition* holds; fail with *text* when *progress* has not changed for `PATIENCE` seconds."""
    never = threading.Event()
    seen, end = progress(), time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"after {PATIENCE:.0f} s without progress: {text()}")
        if (now := progress()) != seen:
            seen, end = now, time.monotonic() + PATIENCE
        never.wait(0.05)


class Program:
    """A Python program that can be killed and started again. It is ready when its log has the text *ready*."""

    def __init__(
        self,
        name: str,
        arguments: typing.Sequence[str],
        folder: Path,
        ready: str,
        environment: typing.Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._environment = {**os.environ, "PYTHONPATH": str(_ROOT), **(environment or {})}
        self._command = [sys.executable, *arguments]
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._ready = ready.encode()
        self._log_before = 0
        self._process = self._start()

    def _start(self) -> Process:
        self._log_before = self._log.stat().st_size if self._log.exists() else 0
        return Process(self._command, directory=self._folder, environment=self._environment, log=self._log)

    @property
    def code(self) -> int | None:
        """Its exit code; ``None`` while it runs."""
        return self._process.code

    def check(self) -> None:
        """Fail if it has ended with an error, or without being asked to."""
        assert self.code in {None, 0}, f"{self.name} has ended with {self.code}\n{self.log_tail()}"

    def is_ready(self) -> bool:
        """Whether it has begun its work."""
        self.check()
        return self._ready in self._log.read_bytes()[self._log_before :]

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def kill_and_start(self) -> None:
        """Kill it while it works, and start it again."""
        wait_for(self.is_ready, lambda: f"{self.name} has not begun its work\n{self.log_tail()}")
        assert self.code is None, f"{self.name} has ended by itself\n{self.log_tail()}"
        self.kill()
        self._process = self._start()

    def stop(self) -> None:
        """Ask it to end, and fail unless it does so with 0."""
        wait_for(self.is_ready, lambda: f"{self.name} has not begun its work\n{self.log_tail()}")
        self._process.signal(signal.SIGTERM)
        wait_for(lambda: self.code is not None, lambda: f"{self.name} does not end\n{self.log_tail()}")
        assert self.code == 0, f"{self.name} has ended with {self.code}\n{self.log_tail()}"
        self.kill()  # which removes it from the list of the guardian

    def count_in_log(self, text: str) -> int:
        """How often its log has *text*."""
        return self._log.read_bytes().count(text.encode())

    def log_tail(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


class Group:
    """Programs of one kind, one of which can be killed, and is started again."""

    def __init__(self, programs: typing.Iterable[Program]) -> None:
        self.programs: list[Program] = []
        try:
            for each in programs:
                self.programs.append(each)
        except BaseException:
            self.kill()
            raise

    def kill_one(self, number: int) -> None:
        """Kill the program with this number, modulo their number, and start it again."""
        self.programs[number % len(self.programs)].kill_and_start()

    def check(self) -> None:
        """Fail if one of them has ended with an error."""
        for each in self.programs:
            each.check()

    def stop(self) -> None:
        """Ask all to end, and fail unless they do so with 0."""
        for each in self.programs:
            each.stop()

    def kill(self) -> None:
        """End all at once."""
        for each in self.programs:
            each.kill()


class Relays(Group):
    """Processes of ``stomp-web relay``."""

    def __init__(self, database: str, url: str, folder: Path | None = None, *, count: int = RELAYS) -> None:
        folder = folder or Path(tempfile.mkdtemp(prefix="stomp-web-relays-"))
        command = [
            *("-m", "stomp_web", "relay", "--database", database, "--url", url, "--poll", "0.2", "--batch", "50"),
        ]
        ready = "relaying the messages"
        super().__init__(Program(f"relay-{number}", command, folder, ready) for number in range(1, count + 1))


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


def counted(store: typing.Any) -> typing.Any:
    """The numbers of an outbox; ``None`` if the database is away."""
    with contextlib.suppress(sqlalchemy.exc.OperationalError):
        return store.stats()


class Proof:
    """One run: the databases, the queues, and the programs that use them.

    * *sending*, *receiving* - the URLs of two empty databases.
    * *server* - the server of both; ``None`` if there is nothing to kill.
    * *folder* - for journals and logs.
    * *relays* - how many relays there are.
    """

    def __init__(
        self,
        broker: RunningBroker,
        queue: str,
        sending: str,
        receiving: str,
        server: Database | None,
        folder: Path,
        size: Size,
        *,
        relays: int = RELAYS,
    ) -> None:
        self._broker, self._queue, self._server, self._folder, self._size = broker, queue, server, folder, size
        self._sending, self._receiving, self._relay_count = sending, receiving, relays
        self._from = sqlalchemy.create_engine(sending, poolclass=NullPool)
        self._to = sqlalchemy.create_engine(receiving, poolclass=NullPool)
        self._store = orders.OUTBOX.store(self._from)
        self._journals = [orders.Journal(folder, number) for number in range(1, PRODUCERS + 1)]
        self._groups: dict[str, Group] = {}
        self._kills: collections.Counter[str] = collections.Counter()
        self._began = time.monotonic()

    def run(self) -> str:
        """Kill everything, compare, and return the figures."""
        self._began = time.monotonic()
        orders.create(self._sending, self._receiving)
        self._make_queues()
        orders.allow(self._folder, 0)
        try:
            self._start()
            self._place_and_kill()
            placed = time.monotonic() - self._began
            self._wait_until_received()
            for kind in ("relay", "worker"):
                self._groups[kind].stop()
        finally:
            for group in self._groups.values():
                group.kill()
        return f"{self._compare()}; {placed:.0f} s until all was placed, {time.monotonic() - self._began:.0f} s in all"

    def _make_queues(self) -> None:
        make_queues(self._broker, self._queue, orders.copies_of(self._queue), orders.dead_letters_of(self._queue))

    def _start(self) -> None:
        count, module = str(self._size.transactions), "tests.faults.orders"
        self._groups["relay"] = Relays(self._sending, self._broker.url, self._folder, count=self._relay_count)
        receive = ["-m", module, "receive", self._broker.url, self._receiving, self._queue]
        self._groups["worker"] = Group(
            Program(f"worker-{number}", receive, self._folder, "receiving from") for number in range(1, WORKERS + 1)
        )
        self._groups["producer"] = Group(
            Program(
                f"producer-{number}",
                ["-m", module, "produce", str(number), count, self._sending, self._queue, str(self._folder)],
                self._folder,
                "goes on with",
            )
            for number in range(1, PRODUCERS + 1)
        )
        programs = [each for group in self._groups.values() for each in group.programs]
        wait_for(lambda: all(each.is_ready() for each in programs), lambda: "not all programs have begun their work")

    def _place_and_kill(self) -> None:
        """Let the producers go on, a part of their orders at a time, and kill while they are at work."""
        kinds = self._order_of_kills()
        share = self._size.transactions / (len(kinds) + _AHEAD + 1)
        for part, kind in enumerate(kinds, 1):
            orders.allow(self._folder, int((part + _AHEAD) * share))
            self._wait_until_placed(int(PRODUCERS * part * share))
            self._kill(kind)
        orders.allow(self._folder, self._size.transactions)
        self._wait_until_placed(PRODUCERS * self._size.transactions)
        producers = self._groups["producer"].programs
        wait_for(lambda: all(each.code == 0 for each in producers), lambda: "not all producers have ended")

    def _order_of_kills(self) -> list[str]:
        """Any order, but a relay is killed after the broker or the database: then it has much to do."""
        size = self._size
        kinds = ["producer"] * size.kills + ["worker"] * size.kills + ["broker"] * size.restarts
        if self._server is not None:
            kinds += ["database"] * size.restarts
        random.Random(len(kinds)).shuffle(kinds)
        relays = ["relay"] * size.kills
        found: list[str] = []
        for kind in kinds:
            found.append(kind)
            if kind in {"broker", "database"} and relays:
                found.append(relays.pop())
        return found + relays

    def _wait_until_relays_work(self) -> None:
        """Wait until the outbox has become smaller between two looks, or is empty."""
        before: int | None = None

        def unsent() -> int | None:
            numbers = counted(self._store)
            return None if numbers is None else numbers.pending + numbers.waiting

        def at_work() -> bool:
            nonlocal before
            self._check()
            now, then = unsent(), before
            before = now
            return now is not None and (now == 0 or (then is not None and now < then))

        wait_for(at_work, lambda: f"the relays send nothing; the outbox has {counted(self._store)}", unsent)

    def _kill(self, kind: str) -> None:
        """Kill one of this *kind*, start it again, and note that beside the logs."""
        if kind == "relay":
            self._wait_until_relays_work()
        with (self._folder / "kills.txt").open("a") as file:
            waiting = counted(self._store)
            file.write(f"{time.monotonic() - self._began:.1f} s: {kind}, while the outbox has {waiting}\n")
        if kind == "broker":
            self._broker.kill()
            self._broker.start()
        elif kind == "database":
            assert self._server is not None
            self._server.kill()
            self._server.go_on()
        else:
            self._groups[kind].kill_one(self._kills[kind])
        self._kills[kind] += 1

    def _wait_until_placed(self, count: int) -> None:
        def placed() -> int:
            self._check()
            return sum(journal.position() for journal in self._journals)

        def text() -> str:
            producers = self._groups["producer"].programs
            return "\n".join(
                [
                    f"{placed()} of {count} orders were placed",
                    *(f"{each.name}: {each.log_tail()}" for each in producers),
                ]
            )

        wait_for(lambda: placed() >= count, text, placed)

    def _wait_until_received(self) -> None:
        """Wait until the outbox is empty, and the workers have written every order."""

        def sent() -> bool:
            self._check()
            numbers = counted(self._store)
            return numbers is not None and numbers.pending + numbers.waiting + numbers.failed == 0

        def still_there() -> str:
            relays = "\n".join(f"{each.name}: {each.log_tail()}" for each in self._groups["relay"].programs)
            return f"the outbox is not empty: {counted(self._store)}\n{self._rows()}\n{relays}"

        wait_for(sent, still_there, lambda: counted(self._store))
        committed = self.committed()

        def received() -> int:
            self._check()
            with self._to.connect() as connection:
                return connection.execute(select(func.count(sqlalchemy.distinct(orders.RECEIVED.c.id)))).scalar_one()

        def not_received() -> str:
            missing = committed.keys() - {order for order, _ in self._received()}
            workers = "\n".join(f"{each.name}: {each.log_tail()}" for each in self._groups["worker"].programs)
            return f"{self._named('are not in the receiving database', missing, committed)}\n{workers}"

        wait_for(lambda: received() >= len(committed), not_received, received)

    def _check(self) -> None:
        for group in self._groups.values():
            group.check()

    # -- what is true at the end ------------------------------------------------------------------------------

    def committed(self) -> dict[int, sqlalchemy.Row[typing.Any]]:
        """The orders in the database of the producers."""
        with self._from.connect() as connection:
            return {row.id: row for row in connection.execute(select(orders.ORDERS))}

    def _received(self) -> list[tuple[int, str]]:
        """The orders in the database of the workers, with the ids of their messages."""
        column = orders.RECEIVED.c
        with self._to.connect() as connection:
            return [(id_, message_id) for id_, message_id in connection.execute(select(column.id, column.message_id))]

    def _compare(self) -> str:
        committed = self.committed()
        arrived = read(self._broker, self._queue)
        received = self._received()
        left = len(read(self._broker, orders.copies_of(self._queue)))
        dead = read(self._broker, orders.dead_letters_of(self._queue))
        problems = [
            *self.problems_of_journals(committed),
            *self.problems_of_queue(committed, arrived),
            *self.problems_of_receivers(committed, received),
        ]
        if dead:
            problems.append(self._named("are dead letters", {order for _, order, _ in dead}, committed))
        assert not problems, "\n".join(problems)
        rolled_back = sum(len(journal.orders()["rolled-back"]) for journal in self._journals)
        kills = ", ".join(f"{count} of {kind}" for kind, count in sorted(self._kills.items()))
        workers = self._groups["worker"].programs
        known = sum(each.count_in_log("was handled before") for each in workers)
        return (
            f"{PRODUCERS * self._size.transactions} transactions, {len(committed)} committed, {rolled_back} rolled "
            f"back; killed: {kills}; {len(arrived)} messages in the queue, {len(arrived) - len(committed)} of them "
            f"copies; the inbox knew {known} copies, {left} were left"
        )

    def problems_of_journals(self, committed: typing.Mapping[int, typing.Any]) -> list[str]:
        """What the database should have, by the journals of those who wrote it."""
        problems = []
        for number, journal in enumerate(self._journals, 1):
            noted = journal.orders()
            if missing := noted["committed"] - committed.keys():
                problems.append(self._named("were committed, and are not in their database", missing, committed))
            own = {order for order in committed if order // 1_000_000 == number}
            if strange := own - noted["commit"]:
                problems.append(self._named("are in the database without a commit", strange, committed))
            if len(noted["commit"] | noted["rolled-back"]) != self._size.transactions:
                problems.append(f"producer-{number} has left out some of its orders")
        return problems

    def problems_of_queue(
        self, committed: typing.Mapping[int, typing.Any], arrived: typing.Sequence[tuple[str, int, str]]
    ) -> list[str]:
        problems = []
        ids: dict[int, set[str]] = collections.defaultdict(set)
        first_arrivals: dict[str, list[int]] = collections.defaultdict(list)
        for key, order, message_id in arrived:
            if order not in ids:
                first_arrivals[key].append(order)
            ids[order].add(message_id)
        if missing := committed.keys() - ids.keys():
            problems.append(self._named("are not in the queue", missing, committed))
        if strange := ids.keys() - committed.keys():
            problems.append(self._named("are in the queue, and were not committed", strange, committed))
        if renamed := {order for order in ids.keys() & committed if ids[order] != {committed[order].message_id}}:
            problems.append(self._named("have copies with another id", renamed, committed))
        for key, found in first_arrivals.items():
            numbers = [(committed[order].number, order) for order in found if order in committed]
            late = {after[1] for before, after in itertools.pairwise(numbers) if after < before}
            if late:
                problems.append(self._named(f"of {key} came after a later one", late, committed))
        return problems

    def problems_of_receivers(
        self, committed: typing.Mapping[int, typing.Any], received: typing.Sequence[tuple[int, str]]
    ) -> list[str]:
        problems = []
        times = collections.Counter(order for order, _ in received)
        if missing := committed.keys() - times.keys():
            problems.append(self._named("are not in the receiving database", missing, committed))
        if strange := times.keys() - committed.keys():
            problems.append(self._named("were received, and were not committed", strange, committed))
        if repeated := {order for order, count in times.items() if count > 1}:
            problems.append(self._named("were received more than once", repeated, committed))
        return problems

    def _named(self, problem: str, found: typing.Collection[int], committed: typing.Mapping[int, typing.Any]) -> str:
        """The first of the orders *found*, with what the outbox has of them."""
        lines = [f"{len(found)} orders {problem}:"]
        for order in sorted(found)[:_SHOWN]:
            row = committed.get(order)
            if row is None:
                lines.append(f"  order {order}, not committed")
                continue
            states = self._rows([row.message_id, row.copy_id]) or "no row in the outbox"
            lines.append(f"  order {order}, {row.key}, number {row.number}: {states}")
        return "\n".join(lines)

    def _rows(self, message_ids: typing.Sequence[str] | None = None) -> str:
        """Rows of the outbox in words: those of these messages, or the first."""
        column = orders.OUTBOX.table.c
        columns = column.id, column.destination, column.key, column.state, column.attempts, column.last_error
        statement = select(*columns).order_by(column.id).limit(_SHOWN)
        if message_ids is not None:
            statement = statement.where(column.message_id.in_(message_ids))
        with self._from.connect() as connection:
            rows = connection.execute(statement).all()
        return "; ".join(
            f"row {row.id} to {row.destination} with key {row.key} is {row.state} after {row.attempts} attempts "
            f"({row.last_error or 'no error'})"
            for row in rows
        )
