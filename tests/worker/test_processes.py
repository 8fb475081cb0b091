"""Handlers in processes: real ones, which do not take the worker or a message with them when they die."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import typing
from pathlib import Path

import pytest

from stomp_web import ConfigurationError
from stomp_web.worker import Worker
from stomp_web.worker.processes import ProcessExecutor
from tests.client.scripted import eventually
from tests.worker import tasks
from tests.worker.running import PATIENCE, own_threads, patient, settled


def told(broker, count, timeout=PATIENCE):
    return [json.loads(frame.body) for frame in broker.wait_for("/queue/told", count, timeout)]


@pytest.fixture
def work(broker, publisher, start):
    """Runs a worker of processes with this handler: ``work(tasks.tell, processes=2)``."""

    def begin(handler, **options):
        worker = Worker(broker.url, **{"processes": 1, "retry_delay": 0.001, **options})
        worker.subscribe("/queue/a")(handler)
        return start(worker)

    return begin


def order(broker, number=0):
    return {"url": broker.url, "number": number}


def test_messages_are_handled_in_other_processes(broker, publisher, work, tmp_path):
    running = work(tasks.tell_when_two_have_begun, processes=2)
    publisher.send_many([("/queue/a", {**order(broker, number), "folder": str(tmp_path)}) for number in range(60)])
    answers = told(broker, 60)
    assert sorted(answer["number"] for answer in answers) == list(range(60))
    processes = {answer["pid"] for answer in answers}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {answer["thread"] for answer in answers} == {"MainThread"}
    assert settled(broker)
    assert running.stop() == 0
    assert not any(_lives(pid) for pid in processes)
    assert own_threads() == []


def test_with_one_process_the_order_is_kept(broker, publisher, work):
    publisher.send_many([("/queue/a", order(broker, number)) for number in range(40)])
    work(tasks.tell)
    assert [answer["number"] for answer in told(broker, 40)] == list(range(40))


def test_the_initializer_runs_first_and_around_is_around(broker, publisher, work):
    work(tasks.tell, initializer=tasks.initialize, around=tasks.around)
    publisher.send("/queue/a", order(broker))
    (answer,) = told(broker, 1)
    assert answer["initialized"] == ["yes"]
    assert answer["around"] == ["entered"]
    assert tasks.initialized == []  # not in this process


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (tasks.fail, "LookupError: in the process"),
        (tasks.leave, "SystemExit: in the process"),
        (tasks.die, "the worker process died with exit code 7 while it handled the message"),
    ],
)
def test_what_fails_there_is_tried_again_and_becomes_a_dead_letter(broker, publisher, work, handler, error):
    running = work(handler, max_redeliveries=2)
    publisher.send("/queue/a", order(broker))
    (letter,) = broker.wait_for("/queue/DLQ", timeout=PATIENCE)
    assert letter.headers["x-error"] == error
    assert letter.headers["x-failures"] == "3"
    assert settled(broker)
    assert running.worker.stats().failed == 3


def test_the_traceback_of_the_process_is_logged_here(broker, publisher, work, caplog):
    work(tasks.fail, max_redeliveries=0)
    publisher.send("/queue/a", order(broker))
    broker.wait_for("/queue/DLQ", timeout=PATIENCE)
    assert 'raise LookupError("in the process")' in caplog.text


def test_a_rejected_message_becomes_a_dead_letter_at_once(broker, publisher, work):
    running = work(tasks.reject)
    publisher.send("/queue/a", order(broker))
    broker.wait_for("/queue/DLQ", timeout=PATIENCE)
    assert running.worker.stats().failed == 1


def test_a_process_that_dies_gives_its_message_back_and_is_replaced(broker, publisher, work):
    running = work(tasks.die_once)
    publisher.send("/queue/a", order(broker))
    (answer,) = told(broker, 1)
    assert (answer["redelivered"], answer["failures"]) == (True, 1)
    assert settled(broker)
    assert eventually(lambda: running.worker.is_alive)


def test_a_process_that_is_killed_from_outside_too(broker, publisher, work):
    running = work(tasks.wait_for_death, processes=2)
    publisher.send("/queue/a", order(broker))
    first = told(broker, 1)[0]
    os.kill(first["pid"], signal.SIGKILL)
    second = told(broker, 2)[1]
    assert second["id"] == first["id"]
    assert second["pid"] != first["pid"]
    assert second["redelivered"]
    assert settled(broker)
    assert running.worker.stats().failed == 1


def test_an_exception_in_the_thread_of_a_process_shifts_no_outcome(broker, publisher, work):
    """Other code may raise it there while the process has the message; its answer comes, too."""
    running = work(tasks.wait_for_death)
    publisher.send("/queue/a", order(broker))
    (first,) = told(broker, 1)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "stomp-worker-1"]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    second = told(broker, 2)[1]
    assert second["pid"] != first["pid"]
    assert settled(broker)
    assert eventually(lambda: running.worker.stats().handled == 1)
    assert running.worker.stats().failed == 1


def test_an_idle_process_that_is_killed_is_replaced_before_it_is_needed(broker, publisher, work):
    running = work(tasks.tell)
    publisher.send("/queue/a", order(broker, 1))
    (first,) = told(broker, 1)
    assert eventually(lambda: running.worker.stats().handled == 1)
    os.kill(first["pid"], signal.SIGKILL)
    assert eventually(lambda: not _lives(first["pid"]))
    publisher.send("/queue/a", order(broker, 2))
    second = told(broker, 2)[1]
    assert second["number"] == 2
    assert second["pid"] != first["pid"]
    assert eventually(lambda: running.worker.stats().handled == 2)
    assert second["failures"] == 0  # it was not at fault, and was not begun
    os.kill(second["pid"], signal.SIGKILL)
    assert eventually(lambda: not _lives(second["pid"]))
    assert eventually(lambda: running.worker.is_alive, PATIENCE)  # without a message that wants one
    assert running.worker.stats().failed == 0


def test_a_process_that_cannot_be_replaced_at_once_is_tried_again(broker, publisher, work, monkeypatch):
    running = work(tasks.tell)
    publisher.send("/queue/a", order(broker, 1))
    (first,) = told(broker, 1)
    assert eventually(lambda: running.worker.stats().handled == 1)
    start, refusals = ProcessExecutor.start, []

    def refuse_once(executor):
        if not refusals:
            refusals.append(1)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(executor)

    monkeypatch.setattr(ProcessExecutor, "start", refuse_once)
    os.kill(first["pid"], signal.SIGKILL)
    publisher.send("/queue/a", order(broker, 2))
    assert told(broker, 2)[1]["number"] == 2
    assert refusals
    assert settled(broker)
    assert running.stop() == 0


def test_the_death_of_a_process_is_seen_while_a_child_of_its_own_lives_on(broker, publisher, work):
    running = work(tasks.fork_and_die, max_redeliveries=0)
    publisher.send("/queue/a", order(broker))
    assert broker.wait_for("/queue/DLQ", timeout=PATIENCE)
    assert running.worker.stats().failed == 1


class TestWhatCannotRunThere:
    def test_a_handler_that_cannot_be_imported(self, broker):
        worker = Worker(broker.url, processes=1)
        worker.subscribe("/queue/a")(lambda message: None)
        with pytest.raises(ConfigurationError, match="top level of a module"):
            worker.run()
        assert broker.connections_accepted == 0
        assert own_threads() == []

    def test_an_initializer_that_fails(self, broker):
        worker = Worker(broker.url, processes=2, initializer=tasks.initialize_badly)
        worker.subscribe("/queue/a")(tasks.tell)
        with pytest.raises(ConfigurationError, match="LookupError: no settings"):
            worker.run()
        assert broker.connections_accepted == 0
        assert own_threads() == []

    def test_a_program_without_a_guard(self, broker, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            "from stomp_web.worker import Worker\n"
            f"worker = Worker({broker.url!r}, processes=1)\n"
            "@worker.subscribe('/queue/a')\n"
            "def handle(message): pass\n"
            "worker.run()\n"
        )
        with program_group(program) as process:
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "__main__" in err
        assert broker.connections_accepted == 0


def test_when_the_worker_is_killed_its_processes_end(broker, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from stomp_web.worker import Worker\n"
        "from tests.worker import tasks\n"
        f"worker = Worker({broker.url!r}, processes=2)\n"
        "worker.subscribe('/queue/a')(tasks.tell)\n"
        "if __name__ == '__main__':\n"
        "    worker.run()\n"
    )
    with program_group(program) as process:
        with patient(broker) as publisher:
            publisher.send_many([("/queue/a", order(broker, number)) for number in range(20)])
        pids = {answer["pid"] for answer in told(broker, 20)}
        process.kill()
        process.wait(PATIENCE)
        assert eventually(lambda: not any(_lives(pid) for pid in pids), PATIENCE)


@contextlib.contextmanager
def program_group(script: Path) -> typing.Iterator[subprocess.Popen[str]]:
    """Run *script*, and end it with all that it has started, whatever became of the test."""
    process = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading
        return False
