"""`manage.py stomp_worker` runs tasks, in programs of their own that end, also killed, while tasks run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from tests.cli.running import DEADLINE, ended
from tests.client.scripted import eventually
from tests.django.task_shop import QUEUE, Shop

if TYPE_CHECKING:
    from stomp_web.broker import Broker

LIMIT = 4 * DEADLINE
IN_PROCESSES = pytest.mark.parametrize("how", [[], ["--processes", "2"]], ids=["threads", "processes"])


def all_done(broker: Broker) -> bool:
    """Wait until the broker has no message of a task."""
    return broker.wait_until(lambda: not broker.pending(QUEUE) + broker.unacknowledged(QUEUE), DEADLINE)


def told(broker: Broker, count: int, queue: str = "/queue/begun") -> list[Any]:
    return [json.loads(frame.body) for frame in broker.wait_for(queue, count, DEADLINE)]


@IN_PROCESSES
def test_the_command_runs_tasks_and_results_are_read_by_another_program(local_broker: Broker, tmp_path, how):
    shop = Shop(local_broker, tmp_path)
    identities = shop.send(
        *(("add", [1, 2]), ("add_later", [3, 4]), ("fail", ["no tea"]), ("announce", ["tea"])),
        *(("return_a_date", []), ("store_order_later", ["tea"])),
    )
    with shop.worker(*how) as process:
        assert all_done(local_broker)
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    results = shop.results(identities)

    statuses = [result["status"] for result in results]
    assert statuses == ["SUCCESSFUL", "SUCCESSFUL", "FAILED", "SUCCESSFUL", "FAILED", "SUCCESSFUL"]
    assert [result["value"] for result in results] == [3, 7, None, None, None, 1]
    assert shop.items == ["tea"]
    assert results[2]["errors"][0].endswith("ValueError: no tea\n")
    assert "returned a value that is not JSON, of type datetime" in results[4]["errors"][0]
    assert all(result["attempts"] == 1 for result in results)
    (announced,) = told(local_broker, 1, "/queue/announced")
    assert (announced["pid"] == process.pid) is (how == [])
    assert results[3]["workers"][0].endswith(f"-{announced['pid']}")
    assert (code, local_broker.messages("/queue/DLQ")) == (0, [])
    assert f"INFO receiving from /queue/orders, /queue/counted, {QUEUE} at stomp://127.0.0.1:" in err


@IN_PROCESSES
def test_the_task_of_a_killed_worker_runs_again_in_the_next_one(local_broker: Broker, tmp_path, how):
    shop = Shop(local_broker, tmp_path)
    end = tmp_path / "end"
    identities = shop.send(("wait_for", [str(end)]))
    with shop.worker(*how) as process:
        (begun,) = told(local_broker, 1)
        assert [result["status"] for result in shop.results(identities)] == ["RUNNING"]
        process.kill()
        if how:
            os.kill(begun["pid"], signal.SIGKILL)
        process.wait(DEADLINE)
    with shop.worker(*how):
        first, second = told(local_broker, 2)
        end.touch()
        assert all_done(local_broker)
    (result,) = shop.results(identities)

    assert (first["attempt"], second["attempt"], first["pid"] == second["pid"]) == (1, 2, False)
    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", 2, 2)
    assert [each.rpartition("-")[2] for each in result["workers"]] == [str(first["pid"]), str(second["pid"])]


def test_the_task_of_a_process_that_is_killed_runs_again(local_broker: Broker, tmp_path):
    shop = Shop(local_broker, tmp_path)
    end = tmp_path / "end"
    identities = shop.send(("wait_for", [str(end)]))
    with shop.worker("--processes", "1") as process:
        (first,) = told(local_broker, 1)
        assert first["pid"] != process.pid
        os.kill(first["pid"], signal.SIGKILL)
        second = told(local_broker, 2)[1]
        end.touch()
        assert all_done(local_broker)
    (result,) = shop.results(identities)
    assert (second["attempt"], result["status"], result["attempts"]) == (2, "SUCCESSFUL", 2)


@pytest.mark.timeout(2 * LIMIT)
def test_a_task_that_kills_its_process_each_time_becomes_a_dead_letter(local_broker: Broker, tmp_path):
    shop = Shop(local_broker, tmp_path)
    identities = shop.send(("die", []), ("add", [1, 2]))
    with shop.worker("--processes", "1"):
        (letter,) = local_broker.wait_for("/queue/DLQ", 1, LIMIT)  # each of six processes imports Django
        assert all_done(local_broker)
    deadly, other = shop.results(identities)
    assert (letter.headers["x-task"], letter.headers["x-failures"]) == ("tests.django.shop.tasks.die", "6")
    assert (deadly["status"], deadly["attempts"]) == ("RUNNING", 6)
    assert (other["status"], other["value"]) == ("SUCCESSFUL", 3)


@IN_PROCESSES
def test_no_task_is_lost_however_often_workers_are_killed(local_broker: Broker, tmp_path, how):
    count, kills = 60, 4
    shop = Shop(local_broker, tmp_path)
    sent = [f"{number:02}" for number in range(count)]
    identities = shop.send(*(("store_order", [item, 0.02]) for item in sent))
    for kill in range(1, kills + 1):
        with shop.worker(*how) as process:
            assert eventually(lambda done=kill * count // (kills + 2): len(shop.items) >= done, DEADLINE)
            process.kill()
            process.wait(DEADLINE)
    with shop.worker(*how) as process:
        assert all_done(local_broker)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    # The processes of a killed worker may still run. So the orders are read first: each attempt was counted before.
    stored = shop.items
    results = shop.results(identities)

    assert [result["errors"] for result in results if result["status"] != "SUCCESSFUL"] == []
    assert set(stored) == set(sent), "each ran at least once"
    assert len(stored) <= sum(result["attempts"] for result in results), "and never more often than was counted"
    assert all(isinstance(result["value"], int) for result in results)
    assert local_broker.messages("/queue/DLQ") == []


def test_a_task_of_a_transaction_goes_through_the_outbox_and_the_relay(local_broker: Broker, tmp_path):
    shop = Shop(local_broker, tmp_path, outbox=True)
    identities = shop.send(("add", [1, 2]), ("fail", ["no tea"]))
    assert local_broker.messages(QUEUE) == []
    assert [result["status"] for result in shop.results(identities)] == ["READY", "READY"]
    shop.run("tests.django.manage", "stomp_relay", "--once")
    assert len(local_broker.messages(QUEUE)) == 2
    with shop.worker():
        assert all_done(local_broker)
    assert [result["status"] for result in shop.results(identities)] == ["SUCCESSFUL", "FAILED"]


def test_a_stop_lets_the_running_task_finish(local_broker: Broker, tmp_path):
    shop = Shop(local_broker, tmp_path)
    end = tmp_path / "end"
    identities = shop.send(("wait_for", [str(end)]))
    with shop.worker() as process:
        told(local_broker, 1)
        process.send_signal(signal.SIGTERM)
        end.touch()
        code, _, _ = ended(process)
    (result,) = shop.results(identities)
    assert (code, result["status"], result["attempts"]) == (0, "SUCCESSFUL", 1)
    assert all_done(local_broker)


@IN_PROCESSES
def test_a_task_that_is_tried_again_waits_and_then_succeeds(local_broker: Broker, tmp_path, how):
    shop = Shop(local_broker, tmp_path, max_attempts=3)
    identities = shop.send(("fail_until", [3]), ("fail", ["no tea"]))
    with shop.worker(*how):
        assert all_done(local_broker)
    first, second = shop.results(identities)
    assert (first["status"], first["value"], first["attempts"], len(first["errors"])) == ("SUCCESSFUL", 3, 3, 2)
    assert (second["status"], second["attempts"], len(second["errors"])) == ("FAILED", 3, 3)
    assert local_broker.messages("/queue/DLQ") == []


def test_without_its_table_the_worker_does_not_start(local_broker: Broker, tmp_path):
    shop = Shop(local_broker, tmp_path)
    with contextlib.closing(sqlite3.connect(shop.database["NAME"])) as connection:
        connection.execute("drop table stomp_web_task")
    with shop.worker() as process:
        code, _, err = ended(process)
    assert code == 1
    assert "CommandError: there is no stomp_web_task in the database 'default': run `manage.py migrate" in err
