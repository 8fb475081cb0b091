"""`stomp-web worker --health-port --health-file`, and what a worker says of itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import typing
from pathlib import Path

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.worker import Worker, supervisor
from stomp_web.worker.health import WorkerHealth
from tests.brokers.ports import lasting_broker
from tests.cli.running import DEADLINE, ROOT, ended, program
from tests.client.scripted import eventually
from tests.health.probes import PORT, becomes, probe, url_of
from tests.worker.running import Notes, Running
from tests.wsgi.helpers import run_python

WORKER = ("worker", "tests.cli.tasks:worker")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[Broker]:
    with lasting_broker() as broker:
        monkeypatch.setenv("STOMP_URL", broker.url)
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url) as publisher:
        yield publisher


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "executors"), [([], 4), (["--processes", "2"], 2)], ids=["threads", "processes"])
def test_a_broker_that_is_away_makes_the_worker_not_ready_and_it_stays_live(
    broker: Broker, how: list[str], executors: int
) -> None:
    with program(*WORKER, *how, *PORT, limit=300) as process:
        url = url_of(process)
        answer = becomes(200, url)
        assert answer.members["status"] == "ok"
        assert (answer.members["executors"], answer.members["executors_ready"]) == (executors, executors)

        broker.stop()
        answer = becomes(503, url)
        assert answer.members["status"] == "unavailable"
        assert answer.members["reason"].startswith("there is no session with the broker")
        live = probe(f"{url}/live")
        assert (live.status, live.members["live"], live.members["ready"]) == (200, True, False)

        broker.start()
        assert becomes(200, url).members["connects"] == 2
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


def test_a_worker_that_has_never_had_a_session_is_live(broker: Broker) -> None:
    broker.stop()
    with program(*WORKER, *PORT) as process:
        url = url_of(process)
        assert [probe(url).status, probe(f"{url}/ready").status, probe(f"{url}/live").status] == [503, 503, 200]
        broker.start()
        becomes(200, url)


SHOP = """
import multiprocessing
import os
from pathlib import Path
from stomp_web import Publisher
from stomp_web.worker import Worker
from tests.client.scripted import eventually

# The test can make the import of this module last in a process of the worker.
if multiprocessing.parent_process() is not None and Path("wait").exists():
    Path("importing").touch()
    assert eventually(lambda: not Path("wait").exists())
worker = Worker(os.environ["STOMP_URL"])

@worker.subscribe("/queue/orders")
def answer(message):
    with Publisher(os.environ["STOMP_URL"]) as publisher:
        publisher.send("/queue/done", os.getpid())
    assert eventually(lambda: not Path("busy").exists())
"""


@pytest.mark.parametrize("busy", [True, False], ids=["with a message", "idle"])
def test_the_parent_counts_the_processes(broker: Broker, publisher: Publisher, tmp_path: Path, busy: bool) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    if busy:
        (tmp_path / "busy").touch()
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with program("worker", "shop:worker", "--processes", "2", *PORT, cwd=tmp_path, PYTHONPATH=paths) as process:
        url = url_of(process)
        becomes(200, url)
        publisher.send("/queue/orders", 1)
        (frame,) = broker.wait_for("/queue/done", timeout=DEADLINE)
        if not busy:
            assert eventually(lambda: probe(url).members["handled"] == 1)
            assert broker.wait_until(lambda: not broker.unacknowledged("/queue/orders"))
        (tmp_path / "wait").touch()
        os.kill(int(frame.body), signal.SIGKILL)
        assert eventually((tmp_path / "importing").exists)
        answer = probe(url)  # its successor exists, and imports the handlers
        assert answer.status == 503
        assert answer.members["reason"] == "1 of 2 threads or processes for handlers are ready"
        assert answer.members["live"]
        (tmp_path / "busy").unlink(missing_ok=True)
        (tmp_path / "wait").unlink()
        becomes(200, url)


def test_while_it_shuts_down_it_is_live_and_not_ready(broker: Broker, publisher: Publisher, tmp_path: Path) -> None:
    go_on, file = tmp_path / "go on", tmp_path / "health"
    with program(*WORKER, *PORT, "--health-file", str(file)) as process:
        url = url_of(process)
        publisher.send("/queue/slow", str(go_on))
        broker.wait_for("/queue/begun", timeout=DEADLINE)
        process.send_signal(signal.SIGTERM)
        answer = becomes(503, url)
        assert answer.members["reason"] == "the worker is shutting down"
        assert probe(f"{url}/live").status == 200
        assert eventually(lambda: json.loads(file.read_text())["ready"] is False)
        go_on.touch()
        assert ended(process)[0] == 0
    assert not file.exists()


def test_the_file_tells_the_same_without_a_port(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "health"

    def ready() -> bool:
        return json.loads(file.read_text())["ready"]

    with program(*WORKER, "--health-file", str(file)) as process:
        assert eventually(file.exists)
        assert eventually(ready)
        broker.stop()
        assert eventually(lambda: not ready())
        assert json.loads(file.read_text())["live"]
        broker.start()
        assert eventually(ready)
        process.send_signal(signal.SIGTERM)
        _, _, err = ended(process)
    assert "health checks at" not in err


def test_a_port_in_use_ends_it_with_1_before_it_connects(broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with program(*WORKER, "--health-port", f"127.0.0.1:{port}") as process:
            code, out, err = ended(process)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err == (
        f"stomp-web: health checks cannot be answered on 127.0.0.1:{port}: another program listens there; choose "
        "another port, or stop that program\n"
    )
    assert broker.connections_accepted == 0


def test_a_file_that_cannot_be_written_ends_it_with_1(broker: Broker, tmp_path: Path) -> None:
    with program(*WORKER, "--health-file", str(tmp_path / "missing" / "health")) as process:
        code, _, err = ended(process)
    assert (code, err.count("\n")) == (1, 1)
    assert "missing/health cannot be written: No such file or directory; choose another path" in err


@pytest.mark.parametrize("text", ["http", ":8081", "::1:8081", "65536", "127.0.0.1:", "-1"])
def test_what_is_no_port_is_a_wrong_command_line(text: str) -> None:
    done = run_python("-m", "stomp_web", *WORKER, f"--health-port={text}", STOMP_URL="stomp://127.0.0.1:1")
    assert done.returncode == 2
    assert "argument --health-port: " in done.stdout


def test_without_the_options_nothing_of_it_is_loaded_and_no_thread_is_started() -> None:
    done = run_python(
        "-c",
        "import sys, threading\n"
        "from stomp_web.broker import Broker\n"
        "from stomp_web.worker import Worker\n"
        "from stomp_web.worker.command import run_worker\n"
        "with Broker() as broker:\n"
        "    worker = Worker(broker.url, concurrency=1)\n"
        "    worker.subscribe('/queue/a')(print)\n"
        "    names = []\n"
        "    def stop():\n"
        "        broker.wait_until(lambda: broker.subscribers('/queue/a'))\n"
        "        names.extend(thread.name for thread in threading.enumerate() if 'stomp-health' in thread.name)\n"
        "        worker.stop()\n"
        "    threading.Thread(target=stop).start()\n"
        "    run_worker(worker)\n"
        "print(names, [name for name in sys.modules if 'health' in name])\n",
    )
    assert done.stdout.splitlines()[-1] == "[] []"


# -- what a worker says -----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is stuck after a short time."""
    monkeypatch.setattr(supervisor, "_STUCK", 0.1)
    monkeypatch.setattr(supervisor, "_READER_STUCK", 0.1)


def test_before_and_after_a_run_a_worker_is_not_ready_and_not_stuck(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(Notes())
    health = WorkerHealth(worker)

    def without_patience() -> tuple[bool, bool | None]:
        """What it says if any time without a move is too long."""
        with monkeypatch.context() as patch:
            patch.setattr(supervisor, "_STUCK", -1000.0)
            return health().live, health().ready

    assert without_patience() == (True, False)
    running = Running(worker).alive()
    assert (health().live, health().ready) == (True, True)
    assert without_patience() == (False, False)
    running.stop()
    assert without_patience() == (True, False)


def test_a_worker_whose_main_thread_does_not_move_is_stuck(broker: Broker, impatient: None) -> None:
    worker = Worker(broker.url, timeout=0.05)
    worker.subscribe("/queue/a")(Notes())
    blocked, go_on = threading.Event(), threading.Event()

    def block(stats: object) -> None:
        blocked.set()
        go_on.wait(60)

    thread = threading.Thread(target=worker.run, kwargs={"on_progress": block})
    thread.start()
    try:
        assert blocked.wait(60)
        assert eventually(lambda: worker.stuck.startswith("the thread that called run has not moved for "))
        report = WorkerHealth(worker)()
        assert (report.live, report.ready) == (False, False)
        assert report.reason.startswith("the thread that called run has not moved for ")
    finally:
        go_on.set()
        worker.stop()
        thread.join(60)
    assert not worker.stuck


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_with_a_thread_that_has_failed_is_stuck(
    broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(broker.url, concurrency=2)
    worker.subscribe("/queue/a")(Notes())
    running = Running(worker).alive()
    inbox = worker._supervisor._inbox
    take = inbox.take
    failed = []

    def fail_once(seconds: float):
        if not failed:
            failed.append(1)
            raise SystemError("a bug")
        return take(seconds)

    monkeypatch.setattr(inbox, "take", fail_once)
    publisher.send("/queue/a", 1)
    assert eventually(lambda: worker.stuck == "1 of 2 threads for handlers have failed, as the log says")
    assert not WorkerHealth(worker)().live
    running.stop()


def test_a_worker_whose_reader_does_not_move_is_stuck(
    broker: Broker, publisher: Publisher, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(broker.url, heart_beat=(0, 100))
    worker.subscribe("/queue/a")(Notes())
    running = Running(worker).alive()
    inbox, blocked, go_on = worker._supervisor._inbox, threading.Event(), threading.Event()
    offer = inbox.offer_many

    def block(frames):
        blocked.set()
        go_on.wait(60)
        return offer(frames)

    monkeypatch.setattr(inbox, "offer_many", block)
    try:
        publisher.send("/queue/a", 1)
        assert blocked.wait(60)
        assert eventually(lambda: worker.stuck.startswith("the thread that reads has not noticed"))
    finally:
        go_on.set()
    assert eventually(lambda: not worker.stuck)
    running.stop()
