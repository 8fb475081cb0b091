"""``python -m benchmarks`` as a user runs it. Nothing is timed: only that it runs, and that no frame is missing."""

from __future__ import annotations

import importlib.util
import re
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.goals import GOALS
from benchmarks.tables import TABLES
from tests.client.scripted import eventually

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 150.0  # seconds
STRANGERS = "tests.benchmarks.contenders:"
TINY = ("--quick", "--repeat", "1", "--target", "0.005")

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the sink needs epoll")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=400)


@dataclass
class Report:
    text: str
    markdown: str
    svg: Path
    code: int

    def table(self, title: str) -> dict[str, list[str]]:
        """The rows of a table by their first cell."""
        lines = self.text.partition(f"## {title}")[2].partition("\n## ")[0].splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
        return {cells[0]: cells[1:] for cells in rows}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Most tables, in runs that are too short to say anything."""
    directory = tmp_path_factory.mktemp("report")
    words = ("publish", "connect", "requests", "encode", "hostile", "receive", "memory", "import")
    only = [argument for word in words for argument in ("--only", word)]
    files = ("--markdown", str(directory / "report.md"), "--svg", str(directory / "report.svg"))
    done = run(*TINY, *only, *files)
    assert done.stderr == ""
    return Report(done.stdout, (directory / "report.md").read_text(), directory / "report.svg", done.returncode)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def test_a_run_in_which_nothing_is_lost_ends_with_0(report: Report) -> None:
    assert report.code == 0, report.text
    assert "Nothing was lost" in report.text
    assert "LOST" not in report.text
    assert "failed" not in report.text


def test_the_report_says_where_and_when_it_was_measured(report: Report) -> None:
    for fact in ("Date", "Python", "Machine", "Load before", "Versions", "Settings"):
        assert re.search(rf"^\* {fact}: .+", report.text, re.MULTILINE)


def test_the_file_holds_what_is_printed(report: Report) -> None:
    assert report.markdown == report.text


@pytest.mark.parametrize(
    ("title", "rows"),
    [
        (
            "Unconfirmed, 1 thread",
            ["limit: raw socket", "stomp-web PublishClient", "stomp-web Publisher (JSON)"],
        ),
        (
            "Confirmed one by one, 1 thread",
            [
                "limit: raw socket",
                "stomp-web PublishClient",
                "stomp-web PublishClientPool",
                "stomp-web Publisher (JSON)",
            ],
        ),
        ("Three sends", ["limit: raw socket", "stomp-web PublishClient", "stomp-web Publisher (JSON)"]),
        (
            "Batches of 64",
            ["limit: raw socket, one by one", "raw socket, 64 joined", "stomp-web PublishClient"],
        ),
        (
            "8 and 64 threads",
            ["limit: 8 threads, 8 raw sockets", "stomp-web PublishClientPool", "stomp-web Publisher (JSON)"],
        ),
        ("A connection per request", ["limit: raw socket", "stomp-web PublishClient"]),
        ("Added to a web request", ["WSGI"]),
        ("Encoding SEND frames", ["limit: minimal codec", "stomp-web"]),
        ("Receiving", ["limit: raw socket, minimal parser", "stomp-web QueueingDuplexClient"]),
        ("Memory", ["limit: raw socket", "stomp-web PublishClientPool", "stomp-web PublishClient"]),
    ],
)
def test_a_table_has_its_rows(report: Report, title: str, rows: list[str]) -> None:
    table = report.table(title)
    for row in rows:
        assert any(re.search(r"\d", cell) for cell in table[row]), table


def test_the_limit_is_1_and_the_others_are_shares_of_it(report: Report) -> None:
    table = report.table("Three sends")
    assert table["limit: raw socket"][0].endswith("(1.00x)")
    assert re.fullmatch(r"[\d ]+ \(\d+\.\d\dx\)", table["stomp-web PublishClient"][0])


@pytest.mark.parametrize(
    ("peer", "module"), [("stomp.py", "stomp"), ("stompman", "stompman"), ("stompest", "stompest")]
)
def test_a_peer_has_its_row_or_is_named_as_skipped(report: Report, peer: str, module: str) -> None:
    if installed(module):
        assert peer in report.table("Unconfirmed, 1 thread")
    else:
        assert f"* Skipped: {peer} ({peer} is not installed)" in report.text


@pytest.mark.parametrize("framework", ["Flask", "Django"])
def test_a_framework_has_its_row_or_is_named_as_skipped(report: Report, framework: str) -> None:
    if installed(framework.lower()):
        assert len(report.table("Added to a web request")[framework]) == 7
    else:
        assert f"* Skipped: {framework}" in report.text


def test_every_goal_that_was_measured_is_listed_with_its_verdict(report: Report) -> None:
    goals = report.table("Goals")
    unmeasured = {goal.what for goal in GOALS if goal.what.startswith("parsing")}
    if not installed("flask") and not installed("django"):
        unmeasured |= {goal.what for goal in GOALS if "Flask" in goal.what}
    for goal in GOALS:
        assert (goal.what in goals) is (goal.what not in unmeasured)
        if goal.what in goals:
            assert goals[goal.what][3] in ("met", "**not met**")


def test_the_summary_has_the_best_share_of_each_library(report: Report) -> None:
    (line,) = (cells for what, cells in report.table("In short").items() if what.startswith("Three sends"))
    cells = [report.table("Three sends")[row][0] for row in ("stomp-web PublishClient", "stomp-web Publisher (JSON)")]
    assert line[1] == max((cell.partition("(")[2].removesuffix("x)") for cell in cells), key=float)


def test_the_picture_is_well_formed_and_has_a_bar_for_each_contender(report: Report) -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(report.svg).getroot()
    assert root.tag == f"{svg}svg"
    words = ["".join(text.itertext()) for text in root.iter(f"{svg}text")]
    bars = list(root.iter(f"{svg}rect"))
    assert "Unconfirmed, 1 thread: 200 B" in words
    names = [word for word in words if word.startswith(("limit", "stomp-web Pub"))]
    assert len(bars) >= len(names) > 10
    assert all(float(bar.get("width", "0")) > 0 for bar in bars)


def test_what_is_not_a_terminal_sees_no_progress_line(report: Report) -> None:
    assert "\r" not in report.text


def test_the_import_brings_no_framework_with_it(report: Report) -> None:
    assert report.table("Import")["import stomp_web"][2] == "none"


def test_list_names_every_table_and_measures_nothing() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(TABLES)


@pytest.mark.parametrize("arguments", [("--only", "nonsense"), ("--repeat", "0"), ("--target", "-1"), ("--what",)])
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr or arguments[0] in done.stderr


@pytest.fixture(scope="module")
def strangers() -> Report:
    """A run in which contenders take part that are not of this project."""
    names = [name for kind in ("Honest", "Liar", "Failing") for name in ("--contender", STRANGERS + kind)]
    done = run(*TINY, "--only", "unconfirmed", *names)
    assert done.stderr == ""
    return Report(done.stdout, "", Path(), done.returncode)


def test_a_contender_of_the_users_own_takes_part(strangers: Report) -> None:
    cells = strangers.table("Unconfirmed, 1 thread")[STRANGERS + "Honest"]
    assert all(re.fullmatch(r"[\d ]+ \(\d+\.\d\dx\)", cell.strip()) for cell in cells)


def test_a_contender_that_has_lost_a_message_makes_the_run_fail(strangers: Report) -> None:
    assert strangers.code == 1
    problems = strangers.text.partition("## Problems")[2]
    assert re.search(r"Liar, 200 B: LOST: it says that it has sent \d+, and the sink has counted \d+", problems)
    assert "Nothing was lost" not in strangers.text


def test_a_contender_that_fails_does_not_keep_the_others_from_being_measured(strangers: Report) -> None:
    table = strangers.table("Unconfirmed, 1 thread")
    assert table[STRANGERS + "Failing"] == ["failed", "failed"]
    assert "RuntimeError: no luck today" in strangers.text
    assert re.match(r"[\d ]+ \(", table["stomp-web PublishClient"][0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_all_that_it_has_started(number: signal.Signals) -> None:
    process = subprocess.Popen(
        command("--only", "confirmed", "--repeat", "1000"),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert eventually(lambda: len(children(process.pid)) >= 3, PATIENCE)
        started = children(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "stopped\n"
    assert eventually(lambda: not any(alive(pid) for pid in started), PATIENCE)


def test_nothing_is_left_when_the_command_is_killed() -> None:
    process = subprocess.Popen(
        command("--only", "confirmed", "--repeat", "1000", "--target", "0.01"),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: len(children(process.pid)) >= 3, PATIENCE)
        started = children(process.pid)
    finally:
        process.kill()
        process.wait(20)
    assert eventually(lambda: not any(alive(pid) for pid in started), PATIENCE)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
