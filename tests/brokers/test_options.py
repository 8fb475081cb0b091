"""The options about brokers, seen from outside: a run of pytest on a machine that lacks one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers.fleet import FOREIGN

# Each starts a pytest of its own. They test the harness, not the library: the gate is where they belong.
pytestmark = pytest.mark.skipif(
    "CI" not in os.environ, reason="tests of the test harness: the gate runs them (CI=true)"
)

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_PROJECT = Path(__file__).parents[2]
_SUBJECT = "tests/brokers/test_harness.py::test_the_log_of_a_broker_can_be_shown"

# What a machine without CoilMQ looks like to the harness.
_WITHOUT = """
from tests.brokers.coilmq import CoilMQ

CoilMQ.missing = classmethod(lambda cls: "CoilMQ is not installed")
"""


@pytest.fixture
def run_without_coilmq(tmp_path: Path) -> Run:
    (tmp_path / "without_coilmq.py").write_text(_WITHOUT)
    path = os.pathsep.join([str(tmp_path), str(_PROJECT), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "without_coilmq", "-p", "no:cacheprovider", "-q"]
        return subprocess.run(
            [*command, *arguments, _SUBJECT],
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    return run


def test_a_missing_broker_skips_and_the_summary_says_what_it_cost_and_how_to_get_it(run_without_coilmq: Run) -> None:
    done = run_without_coilmq("-k", "coilmq or development")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "brokers: stomp-web/" in done.stdout
    assert "no coilmq: 1 test was skipped (CoilMQ is not installed). To run it: pip install coilmq" in done.stdout


def test_require_brokers_makes_a_missing_broker_a_failure(run_without_coilmq: Run) -> None:
    done = run_without_coilmq("-k", "coilmq", "--require-brokers")
    assert done.returncode == 1, done.stdout
    assert "CoilMQ is not installed here: pip install coilmq (--require-brokers)" in done.stdout


def test_no_brokers_leaves_out_what_starts_a_foreign_broker(run_without_coilmq: Run) -> None:
    done = run_without_coilmq("--no-brokers")
    assert done.returncode == 0, done.stdout
    assert f"1 passed, {len(FOREIGN)} deselected" in done.stdout
    assert f"--no-brokers left out {len(FOREIGN)} tests" in done.stdout


def test_the_two_options_exclude_each_other(run_without_coilmq: Run) -> None:
    done = run_without_coilmq("--no-brokers", "--require-brokers")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "exclude each other" in done.stdout + done.stderr


_PRESSES_CTRL_C = "tests/cli/test_broker.py::test_it_says_where_it_listens_and_ends_cleanly"

# What a shell without job control does to a command with `&`.
_IN_THE_BACKGROUND = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_tests_can_press_ctrl_c_where_a_script_runs_them_in_the_background(processes: str) -> None:
    command = [sys.executable, "-c", _IN_THE_BACKGROUND, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [*command, "-n", processes, "--no-brokers", _PRESSES_CTRL_C],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
