"""`stomp-web worker` runs a Worker until it is told to stop, and shows what it does."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sysconfig
import time
import typing
from pathlib import Path

import pytest

from stomp_web import Publisher
from stomp_web._internal.signals import ONE_REQUEST
from stomp_web.broker import Broker
from tests.cli.running import DEADLINE, ended, line_with, program
from tests.wsgi.helpers import run_python

SCRIPT = shutil.which("stomp-web", path=sysconfig.get_path("scripts"))
IN_PROCESSES = pytest.mark.parametrize("how", [[], ["--processes", "2"]], ids=["threads", "processes"])


@pytest.fixture
def publisher(dev_broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(dev_broker.url) as publisher:
        yield publisher


def answers(broker: Broker, count: int, queue: str = "/queue/done") -> list[dict[str, typing.Any]]:
    return [json.loads(frame.body) for frame in broker.wait_for(queue, count, DEADLINE)]


def nothing_left(broker: Broker, queue: str) -> bool:
    """Whether every message of the queue was acknowledged."""
    return broker.wait_until(lambda: not broker.pending(queue) + broker.unacknowledged(queue), DEADLINE)


def run_script(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program `stomp-web`, as it was installed, in another directory."""
    assert SCRIPT is not None
    return subprocess.run(
        [SCRIPT, *arguments],
        cwd=cwd,
        env={**os.environ, "STOMP_URL": "stomp://127.0.0.1:1", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


# -- it runs, and ends ------------------------------------------------------------------------------------------------


@IN_PROCESSES
def test_messages_are_handled_until_sigterm(dev_broker: Broker, publisher: Publisher, how: list[str]) -> None:
    with program("worker", "tests.cli.tasks:worker", *how) as process:
        publisher.send_many([("/queue/orders", number) for number in (1, 2, 3)])
        told = answers(dev_broker, 3)
        assert nothing_left(dev_broker, "/queue/orders")
        process.send_signal(signal.SIGTERM)
        code, out, err = ended(process)
    assert sorted(each["order"] for each in told) == [1, 2, 3]
    assert all((each["pid"] == process.pid) is (how == []) for each in told)
    assert (code, out) == (0, "")
    assert "Traceback" not in err


def test_processes_says_how_many_handle_messages_at_the_same_time(
    dev_broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    file = tmp_path / "go on"
    with program("worker", "tests.cli.tasks:worker", "--processes", "2") as process:
        publisher.send_many([("/queue/slow", str(file))] * 3)
        begun = answers(dev_broker, 2, "/queue/begun")
        assert len({each["pid"] for each in begun} - {process.pid}) == 2
        assert len(dev_broker.messages("/queue/begun")) == 2
        file.touch()
        assert nothing_left(dev_broker, "/queue/slow")
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


@pytest.mark.parametrize(("how", "concurrency"), [([], 4), (["--concurrency", "3"], 3)])
def test_concurrency_overrides_that_of_the_worker(
    dev_broker: Broker, publisher: Publisher, how: list[str], concurrency: int
) -> None:
    with program("worker", "tests.cli.tasks:worker", *how):
        publisher.send("/queue/orders", 1)
        assert answers(dev_broker, 1)[0]["concurrency"] == concurrency


@IN_PROCESSES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_a_handler_come_to_its_end(
    dev_broker: Broker, publisher: Publisher, tmp_path: Path, how: list[str], number: signal.Signals
) -> None:
    file = tmp_path / "go on"
    with program("worker", "tests.cli.tasks:worker", *how) as process:
        publisher.send("/queue/slow", str(file))
        dev_broker.wait_for("/queue/begun", timeout=DEADLINE)
        process.send_signal(number)
        line_with(process, "stopping: 1 message", "stderr")
        file.touch()
        assert ended(process)[0] == 0
    assert nothing_left(dev_broker, "/queue/slow")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_it_at_once_and_the_message_comes_again(
    dev_broker: Broker, publisher: Publisher, number: signal.Signals, code: int
) -> None:
    with program("worker", "tests.cli.tasks:worker") as process:
        publisher.send("/queue/slow", "/a file that never comes")
        dev_broker.wait_for("/queue/begun", timeout=DEADLINE)
        process.send_signal(number)
        line_with(process, "stopping: 1 message", "stderr")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(ONE_REQUEST)  # so long it would count as the first
        process.send_signal(number)
        ended_with, _, err = ended(process)
    assert (ended_with, "Traceback" in err) == (code, False)
    assert "stopped at once; messages that were being handled will come again" in err
    assert dev_broker.wait_until(lambda: len(dev_broker.pending("/queue/slow")) == 1)


def test_a_handler_that_does_not_end_in_time_makes_the_code_1(dev_broker: Broker, publisher: Publisher) -> None:
    with program("worker", "tests.cli.tasks:hasty") as process:
        publisher.send("/queue/slow", "/a file that never comes")
        dev_broker.wait_for("/queue/begun", timeout=DEADLINE)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 1


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_broker_that_refuses_is_one_line_and_code_1() -> None:
    with (
        Broker(login="shop", passcode="right") as broker,
        program("worker", "tests.cli.tasks:worker", STOMP_URL=broker.url.replace("right", "secret")) as process,
    ):
        code, out, err = ended(process)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("stomp-web: stomp://127.0.0.1:"), "nothing was to be sent, so it does not begin with that"
    assert "refused the session as 'shop'" in err
    assert "secret" not in err


def test_a_worker_without_handlers_is_told_what_to_do() -> None:
    with program("worker", "tests.cli.tasks:idle", STOMP_URL="stomp://127.0.0.1:1") as process:
        code, _, err = ended(process)
    assert (code, err.count("\n")) == (1, 1)
    assert "subscribe('/queue/...')" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tasks"], "'tasks' has no colon; write MODULE:WORKER"),
        (["tasks:"], "'tasks:' is not MODULE:WORKER"),
        ([":worker"], "':worker' is not MODULE:WORKER"),
        (["./tasks:worker"], "'./tasks:worker' is not MODULE:WORKER"),
        (["tasks:worker", "--concurrency", "0"], "'0' is not a whole number, 1 or more"),
        (["tasks:worker", "--processes", "-1"], "--processes"),
        (["tasks:worker", "--processes", "two"], "'two' is not a whole number, 0 or more"),
        ([], "MODULE:WORKER"),
        (["--url", "stomp://localhost", "tasks:worker"], "there is no --url here: the address of the broker"),
        (["tasks:worker", "--url=stomp://shop:secret@localhost"], "there is no --url here"),
        (["--prefetch", "5", "tasks:worker"], "unrecognized arguments: --prefetch"),
    ],
)
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run_script(tmp_path, "worker", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "secret" not in done.stderr


TASKS = """
from stomp_web.worker import Worker

first = Worker()
second = Worker()

def function(): ...
"""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:worker", "there is no module nowhere in {cwd}"),
        ("tasks.nowhere:worker", "there is no module tasks.nowhere in {cwd}"),
        ("tasks.py:worker", "leave out the .py of tasks.py"),
        ("tasks:worker", "the module tasks has no worker; its workers are first, second"),
        ("tasks:function", "tasks:function is no stomp_web.worker.Worker, but of type builtins.function; its workers"),
        ("other:worker", "the module other has no worker; it has no Worker"),
        ("bad:worker", "there is no option concurency; did you mean concurrency?"),
    ],
)
def test_a_worker_that_is_not_there_is_one_line_and_code_1(tmp_path: Path, target: str, says: str) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "other.py").touch()
    (tmp_path / "bad.py").write_text("from stomp_web.worker import Worker\nworker = Worker(concurency=1)\n")
    done = run_script(tmp_path, "worker", target)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("stomp-web: ")
    assert says.format(cwd=tmp_path) in done.stderr


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("import missing_module", "ModuleNotFoundError: No module named 'missing_module'"),
        ("from json import missing_name", "ImportError: cannot import name 'missing_name'"),
        ("open('missing-file')", "FileNotFoundError"),
    ],
)
def test_an_error_inside_the_module_is_shown_with_its_traceback(tmp_path: Path, line: str, error: str) -> None:
    (tmp_path / "tasks.py").write_text(f"\n\n{line}\n")
    done = run_script(tmp_path, "worker", "tasks:worker")
    assert done.returncode == 1
    assert f'File "{tmp_path}/tasks.py", line 3' in done.stderr
    assert error in done.stderr
    assert done.stderr.splitlines()[-1].startswith("stomp-web: the module tasks could not be imported")


def test_the_current_directory_is_the_first_to_be_looked_into(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder, name in ((here, "right"), (elsewhere, "wrong")):
        folder.mkdir()
        (folder / "tasks.py").write_text(f"from stomp_web.worker import Worker\n{name} = Worker()\n")
    done = run_script(here, "worker", "tasks:worker", PYTHONPATH=str(elsewhere))
    assert "its workers are right" in done.stderr


SHOP = """
import os
from stomp_web import Publisher
from stomp_web.worker import Worker

worker = Worker(os.environ["STOMP_URL"])

@worker.subscribe("/queue/orders")
def answer(message):
    with Publisher(os.environ["STOMP_URL"]) as publisher:
        publisher.send("/queue/done", os.getpid())
"""


def test_processes_find_a_module_of_the_current_directory(
    dev_broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    assert SCRIPT is not None
    (tmp_path / "shop.py").write_text(SHOP)
    process = subprocess.Popen([SCRIPT, "worker", "shop:worker", "--processes", "1"], cwd=tmp_path)
    try:
        publisher.send("/queue/orders", 1)
        (frame,) = dev_broker.wait_for("/queue/done", timeout=DEADLINE)
        assert int(frame.body) != process.pid
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait(DEADLINE)


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_what_happens_is_logged_a_line_each_and_without_a_terminal_nothing_else(
    dev_broker: Broker, publisher: Publisher
) -> None:
    with program("worker", "tests.cli.tasks:worker") as process:
        publisher.send("/queue/orders", 1)
        assert answers(dev_broker, 1)
        assert nothing_left(dev_broker, "/queue/orders")
        process.send_signal(signal.SIGTERM)
        _, out, err = ended(process)
    lines = err.splitlines()
    assert out == ""
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO \S", line) for line in lines), err
    assert sum("receiving from /queue/orders, /queue/slow at stomp://127.0.0.1:" in line for line in lines) == 1
    # The broker may have the ACK before the worker has noted that it was written.
    assert re.search(r"stopping: (0 messages are|1 message is) being handled$", lines[-1])


def test_what_stomp_web_logs_in_the_processes_is_shown_too(dev_broker: Broker, publisher: Publisher) -> None:
    with program("worker", "tests.cli.tasks:worker", "--processes", "1") as process:
        publisher.send("/queue/orders", 1)
        assert answers(dev_broker, 1)
        process.send_signal(signal.SIGTERM)
        _, _, err = ended(process)
    # The worker, and in the process the handler's publisher.
    assert len(re.findall("INFO connected to stomp://", err)) == 2


@pytest.mark.parametrize(
    "line",
    [
        "logging.basicConfig(format='MINE %(message)s', level='INFO')",
        "logger = logging.getLogger('stomp_web'); logger.setLevel('INFO'); logger.addHandler(HANDLER)",
        "logger = logging.getLogger('stomp_web.worker'); logger.setLevel('INFO'); logger.addHandler(HANDLER)",
    ],
)
@IN_PROCESSES
def test_logging_that_the_user_has_set_up_is_left_alone(
    dev_broker: Broker, publisher: Publisher, tmp_path: Path, line: str, how: list[str]
) -> None:
    handler = "HANDLER = logging.StreamHandler(); HANDLER.setFormatter(logging.Formatter('MINE %(message)s'))"
    (tmp_path / "shop.py").write_text(f"import logging\n{handler}\n{line}\n{SHOP}")
    with program("worker", "shop:worker", *how, cwd=tmp_path) as process:
        publisher.send("/queue/orders", 1)
        assert answers(dev_broker, 1)
        process.send_signal(signal.SIGTERM)
        _, _, err = ended(process)
    assert err.count("receiving from") == 1
    assert all(each.startswith("MINE ") for each in err.splitlines()), err


def test_after_the_run_logging_is_as_it_was_before() -> None:
    done = run_python(
        "-c",
        "import io, logging, threading\n"
        "from stomp_web.broker import Broker\n"
        "from stomp_web.worker import Worker\n"
        "from stomp_web.worker.command import run_worker\n"
        "logger, shown = logging.getLogger('stomp_web'), io.StringIO()\n"
        "before = logger.level, list(logger.handlers)\n"
        "with Broker() as broker:\n"
        "    worker = Worker(broker.url)\n"
        "    worker.subscribe('/queue/a')(print)\n"
        "    def stop():\n"
        "        broker.wait_until(lambda: broker.subscribers('/queue/a'))\n"
        "        worker.stop()\n"
        "    threading.Thread(target=stop).start()\n"
        "    assert run_worker(worker, stream=shown) == 0\n"
        "assert 'receiving from /queue/a' in shown.getvalue()\n"
        "assert before == (logger.level, list(logger.handlers))\n",
    )
    assert (done.returncode, done.stdout) == (0, "")


@contextlib.contextmanager
def terminal() -> typing.Iterator[tuple[int, int]]:
    """The two ends of a terminal: what a program is given, and what its user looks at."""
    screen, line = pty.openpty()
    try:
        yield line, screen
    finally:
        os.close(line)
        os.close(screen)


def shown(screen: int, pattern: str) -> str:
    """What the terminal shows, until the pattern is in it."""
    text, end = "", time.monotonic() + DEADLINE
    while not re.search(pattern, text):
        ready, _, _ = select.select([screen], [], [], max(end - time.monotonic(), 0.0))
        assert ready, f"{pattern!r} is not in {text!r}"
        text += os.read(screen, 65_536).decode()
    return text


@IN_PROCESSES
def test_a_terminal_shows_a_progress_line_below_the_log(
    dev_broker: Broker, publisher: Publisher, how: list[str]
) -> None:
    with terminal() as (line, screen), program("worker", "tests.cli.tasks:worker", *how, stderr=line) as process:
        publisher.send_many([("/queue/orders", number) for number in (1, 2, 3)])
        text = shown(screen, r"received 3, handled 3, failed 0, in flight 0, \d+\.\d/s")
        process.send_signal(signal.SIGTERM)
        text += shown(screen, "stopping: 0 messages are being handled")
        assert process.wait(DEADLINE) == 0
    # Only at the end is the line left.
    assert "\n" not in re.sub(r"[^\n]* INFO [^\n]*\n", "", text).rstrip("\r\n"), "the line is written over and over"
    assert "\r\x1b[K" in text.partition("received")[0], "what stood there is cleared first"


def test_the_progress_line_says_how_many_are_in_a_handler(
    dev_broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    file = tmp_path / "go on"
    with (
        terminal() as (line, screen),
        program("worker", "tests.cli.tasks:worker", "--concurrency", "2", stderr=line) as process,
    ):
        publisher.send_many([("/queue/slow", str(file))] * 3)
        shown(screen, r"received 3, handled 0, failed 0, in flight 2, 0\.0/s")
        file.touch()
        shown(screen, r"received 3, handled 3, failed 0, in flight 0, \d+\.\d/s")
        process.send_signal(signal.SIGTERM)
        shown(screen, "stopping")
        assert process.wait(DEADLINE) == 0


def test_the_help_says_what_the_command_does(tmp_path: Path) -> None:
    done = run_script(tmp_path, "worker", "--help")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0
    options = "[-h] [--concurrency N] [--processes N] [--health-port [HOST:]PORT] [--health-file PATH]"
    assert f"usage: stomp-web worker {options} MODULE:WORKER" in text
    assert "The first Ctrl-C or SIGTERM shuts down cleanly" in text
    assert "STOMP_URL counts only if the module reads it" in text
    assert "While the broker is down, the worker waits and connects again." in text


def test_the_other_commands_load_no_worker() -> None:
    done = run_python(
        "-c",
        "import sys; from stomp_web.cli import main; main(['--help']); sys.exit('stomp_web.worker' in sys.modules)",
    )
    assert done.returncode == 0, done.stdout
