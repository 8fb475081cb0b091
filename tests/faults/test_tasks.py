"""Tasks of Django at real brokers, with results in PostgreSQL, while their workers are killed, one each second.

How many tasks there are: 8 for each fault that `--faults` orders, and 400 at least; 10,000 with ``--faults=1250``.
After each 80 of them a worker is killed.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from tests.brokers import fleet
from tests.brokers.running import RunningBroker
from tests.cli.running import DEADLINE, ROOT
from tests.django import postgres
from tests.django.task_shop import Shop

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")
pytest.importorskip("sqlalchemy")

from tests.faults.load import drain
from tests.faults.proof import Group, Program, wait_for

# The two of RabbitMQ, and one that keeps messages in another way.
BROKERS = ("rabbitmq", "rabbitmq4", "activemq")
PORTION = 80
AHEAD = 2  # portions that may be unfinished, so that workers always have tasks
PAUSE = 0.1  # seconds that a task takes before its commit
BETWEEN = 1.0  # seconds between two kills, at least
# The arguments of the workers. Each runs four tasks at once.
WORKERS = ([], [], [], ["--processes", "2", "--concurrency", "2"])
ENDS = "('SUCCESSFUL', 'FAILED')"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> typing.Iterator[postgres.Postgres]:
    yield from postgres.provided(request)


class Tasks:
    """Tasks that are sent, and their workers."""

    def __init__(self, shop: Shop, server: postgres.Postgres, folder: Path) -> None:
        self.identities: list[str] = []
        self.kills = 0
        self._connection = server.connect(shop.database["NAME"])
        self._sender = subprocess.Popen(
            [sys.executable, "-m", "tests.django.task_client", "send"],
            cwd=ROOT,
            env={**os.environ, **shop.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._killed_at = time.monotonic()
        self._group = Group(
            Program(
                f"worker-{number}",
                ["-m", "tests.django.manage", "stomp_worker", *arguments],
                folder,
                "receiving from",
                shop.environment(),
            )
            for number, arguments in enumerate(WORKERS, 1)
        )

    def rows(self, statement: str) -> list[typing.Any]:
        return self._connection.execute(statement).fetchall()  # type: ignore[call-overload]

    def finished(self) -> int:
        self._group.check()
        return int(self.rows(f"select count(*) from stomp_web_task where status in {ENDS}")[0][0])

    def send(self, items: typing.Sequence[str]) -> None:
        """Send a task for each of *items*, by a program that goes on."""
        assert self._sender.stdin is not None
        assert self._sender.stdout is not None
        self._sender.stdin.write(json.dumps([("store_order", [item, PAUSE]) for item in items]) + "\n")
        self._sender.stdin.flush()
        answer = self._sender.stdout.readline()  # the test itself has a deadline
        assert answer, f"the program that sends tasks has ended with {self._sender.wait(DEADLINE)}"
        self.identities += json.loads(answer)

    def wait_for_finished(self, count: int) -> None:
        def text() -> str:
            logs = (f"{each.name}: {each.log_tail()}" for each in self._group.programs)
            return "\n".join([f"{self.finished()} of {count} tasks have finished", *logs])

        wait_for(lambda: self.finished() >= count, text, self.finished)

    def wait_for_workers(self) -> None:
        """Wait until all workers receive, and the last kill was a second ago."""
        programs = self._group.programs
        wait_for(lambda: all(each.is_ready() for each in programs), lambda: "not all workers have begun their work")
        wait_for(lambda: time.monotonic() - self._killed_at >= BETWEEN)

    def kill_one(self) -> None:
        """Kill the next worker, and start it again."""
        self._group.kill_one(self.kills)
        self._killed_at = time.monotonic()
        self.kills += 1

    def stop(self) -> None:
        self._group.stop()

    def kill(self) -> None:
        """End all programs at once."""
        self._group.kill()
        self._sender.kill()
        self._sender.communicate()
        self._connection.close()


def problems_of(
    items: typing.Sequence[str], results: typing.Sequence[dict[str, typing.Any]], stored: dict[int, str]
) -> list[str]:
    """What is wrong with the results of the tasks that had to store *items*; *stored* has the items by their ids."""
    problems = []
    for item, result in zip(items, results, strict=True):
        if result["status"] != "SUCCESSFUL":
            problems.append(f"the task of {item} is {result['status']}: {result['errors']}")
        elif stored.get(result["value"]) != item:
            problems.append(f"the task of {item} has the result {result['value']}: {stored.get(result['value'])}")
    runs = collections.Counter(stored.values())
    for item, result in zip(items, results, strict=True):
        if not 1 <= runs.pop(item, 0) <= result["attempts"]:
            problems.append(f"{item} was not stored once in each of {result['attempts']} attempts at the most")
    return problems + [f"{item} was stored, and no task had to" for item in runs]


RIGHT: typing.Final = [
    {"status": "SUCCESSFUL", "value": 1, "attempts": 1, "errors": []},
    {"status": "SUCCESSFUL", "value": 3, "attempts": 2, "errors": []},
]


def test_results_are_right_though_a_task_ran_twice() -> None:
    assert problems_of(["a", "b"], RIGHT, {1: "a", 2: "b", 3: "b"}) == []


@pytest.mark.parametrize(
    ("change", "stored", "problem"),
    [
        ({"status": "READY", "value": None}, {1: "a", 3: "b"}, "the task of a is READY"),
        ({"status": "FAILED", "errors": ["no"]}, {1: "a", 3: "b"}, "the task of a is FAILED: ['no']"),
        ({"value": 3}, {1: "a", 3: "b"}, "the task of a has the result 3: b"),
        ({"value": 7}, {1: "a", 3: "b"}, "the task of a has the result 7: None"),
        ({}, {3: "b"}, "a was not stored once"),
        ({}, {1: "a", 2: "a", 3: "b"}, "a was not stored once in each of 1 attempts"),
        ({}, {1: "a", 3: "b", 4: "c"}, "c was stored, and no task had to"),
    ],
)
def test_results_that_are_wrong_are_named(change: dict[str, typing.Any], stored: dict[int, str], problem: str) -> None:
    found = problems_of(["a", "b"], [{**RIGHT[0], **change}, RIGHT[1]], stored)
    assert problem in "\n".join(found)


@pytest.mark.timeout(2400)  # every wait has a deadline of its own; this is for the full size
@pytest.mark.parametrize("broker", [each for each in fleet.REAL if each in BROKERS], indirect=True)
def test_no_task_is_lost_and_every_result_is_right_though_a_worker_is_killed_each_second(
    broker: RunningBroker, queue: str, server: postgres.Postgres, tmp_path: Path, faults: int
) -> None:
    items = [f"{number:06}" for number in range(max(8 * faults, 400))]
    dead_letters = f"{queue}-dead"
    # A task may be unlucky, and meet many of the workers that are killed. It is to be run all the same.
    worker = {"max_redeliveries": 1000, "dead_letter": dead_letters, "concurrency": 4}
    database = {**server.database, "NAME": server.create_database()}
    shop = Shop(broker, tmp_path, database, worker, destination=f"{queue}-{{queue}}")
    tasks = Tasks(shop, server, tmp_path)
    began = time.monotonic()
    try:
        for number, portion in enumerate(itertools.batched(items, PORTION), 1):
            if number > AHEAD:
                tasks.wait_for_finished(len(tasks.identities) - AHEAD * PORTION)
                tasks.wait_for_workers()
            finished = tasks.finished()
            tasks.send(portion)
            if number > AHEAD:
                tasks.wait_for_finished(finished + 1)  # they are at work
                tasks.kill_one()
        tasks.wait_for_finished(len(items))
        took = time.monotonic() - began
        tasks.stop()
        stored = dict(tasks.rows("select id, item from shop_order"))
    finally:
        tasks.kill()

    results = shop.results(tasks.identities)
    attempts = sum(result["attempts"] for result in results)
    print(f"{len(items)} tasks, {tasks.kills} kills, {attempts} attempts, {len(stored)} runs, {took:.0f} s")
    assert problems_of(items, results, stored) == []
    assert attempts > len(items), "workers were killed while they ran tasks"
    assert drain(broker, dead_letters) == []
    # What is left are copies, which a worker would not run again.
    assert set(drain(broker, f"{queue}-default")) <= set(tasks.identities)
