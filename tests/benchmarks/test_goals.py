"""What a goal says of the cells that it looks up."""

from __future__ import annotations

import pytest

from benchmarks.goals import GOALS, Goal, Reached
from benchmarks.markdown import goals as written_goals
from benchmarks.results import Cell, Table
from benchmarks.tables import hostile, imports, memory, requests, threads
from benchmarks.tables.rows import WEB_CLIENT, WEB_POOL, WEB_PUBLISHER

CLIENT, PUBLISHER = WEB_CLIENT.title, WEB_PUBLISHER.title


def goal(words: str) -> Goal:
    (found,) = (goal for goal in GOALS if goal.what.startswith(words))
    return found


def table(name: str, *cells: tuple[str, str, Cell], unit: str = "messages/s") -> dict[str, Table]:
    columns = list(dict.fromkeys(column for _, column, _ in cells))
    made = Table(name, name, "", columns, [unit] * len(columns))
    for row, column, cell in cells:
        made.put(row, column, cell)
    return {name: made}


def reached(words: str, tables: dict[str, Table]) -> Reached:
    found = goal(words).reached(tables)
    assert found is not None
    return found


def test_there_is_a_goal_for_each_line_of_the_issue() -> None:
    assert len(GOALS) == len({goal.what for goal in GOALS}) == 16


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.what[:40])
def test_a_goal_whose_table_was_not_measured_says_nothing(goal: Goal) -> None:
    assert goal.reached({}) is None


@pytest.mark.parametrize(("ratio", "met"), [(0.69, False), (0.70, True), (1.2, True)])
def test_a_share_is_met_from_its_threshold_on(ratio: float, met: bool) -> None:
    cell = Cell([ratio * 1000] * 3, [ratio] * 3)
    found = reached("PublishClient.send, unconfirmed", table("publish-unconfirmed", (CLIENT, "200 B", cell)))
    assert found.met is met
    assert found.value == f"{ratio:.2f}"


def test_the_median_counts_and_the_worst_and_the_best_round_are_told() -> None:
    cell = Cell([900.0, 950.0, 400.0], [0.9, 0.95, 0.4])
    found = reached("PublishClient.send, confirmed", table("publish-confirmed", (CLIENT, "200 B", cell)))
    assert found == Reached("0.90", True, "0.40 - 0.95", "900 / 1 000 messages/s")


@pytest.mark.parametrize(("added", "met"), [(1.3, True), (1.31, False)])
def test_what_is_added_is_to_be_at_most_its_threshold(added: float, met: bool) -> None:
    flask = (requests.FLASK.title, requests.ADDED, Cell([added * 1e-5], [added]))
    django = (requests.DJANGO.title, requests.ADDED, Cell([1e-5], [1.0]))
    assert reached("added by", table("requests", flask, django, unit="us")).met is met


@pytest.mark.parametrize(("share", "wait", "met"), [(0.5, 20.0, True), (0.4, 2.0, False), (0.9, 21.0, False)])
def test_two_conditions_must_both_hold(share: float, wait: float, met: bool) -> None:
    cells = [
        (PUBLISHER, threads.SIXTY_FOUR, Cell([share * 1000], [share])),
        (PUBLISHER, threads.LONGEST, Cell([wait])),
    ]
    assert reached("the same, 64 threads", table("publish-threads", *cells)).met is met


@pytest.mark.parametrize(("bodies", "met"), [(0.01, True), (1.0, False)])
def test_a_copy_of_the_body_is_not_met(bodies: float, met: bool) -> None:
    tables = table("publish-unconfirmed", (CLIENT, "1 MiB", Cell([1000.0], [1.0])))
    tables |= table("memory", (CLIENT, memory.PEAK, Cell([bodies])), unit="bodies")
    assert reached("1 MiB body", tables).met is met


def test_half_of_a_goal_is_not_met() -> None:
    tables = table("publish-unconfirmed", (CLIENT, "1 MiB", Cell([1000.0], [1.0])))
    assert not reached("1 MiB body", tables).met


@pytest.mark.parametrize(("size", "number", "met"), [(150_000, 0, True), (150_000, 1, False), (300_000, 0, False)])
def test_idle_connections_have_no_threads_and_little_memory(size: int, number: int, met: bool) -> None:
    cells = [(WEB_POOL.title, memory.IDLE, Cell([size])), (WEB_POOL.title, memory.THREADS, Cell([number]))]
    assert reached("8 idle", table("memory", *cells, unit="KiB")).met is met


@pytest.mark.parametrize(("others", "met"), [("none", True), ("flask, werkzeug", False)])
def test_an_import_brings_nothing_with_it(others: str, met: bool) -> None:
    cells = [(imports.WEB, imports.MORE, Cell([0.02])), (imports.WEB, imports.OTHERS, Cell([0], text=others))]
    assert reached("import", table("import", *cells, unit="ms")).met is met


def test_of_all_hostile_inputs_the_worst_counts() -> None:
    cells = [("one", hostile.WEB.title, Cell([1.0], [2.0])), ("two", hostile.WEB.title, Cell([1.0], [3.9]))]
    found = reached("every hostile", table("hostile", *cells, unit="ms"))
    assert (found.value, found.met, found.rates) == ("3.90", False, "two")


def test_what_has_failed_is_not_met() -> None:
    cells = [("one", hostile.WEB.title, Cell([1.0], [2.0])), ("two", hostile.WEB.title, Cell(failed="> 3 s"))]
    assert not reached("every hostile", table("hostile", *cells, unit="ms")).met
    tables = table("publish-confirmed", (CLIENT, "200 B", Cell(failed="LOST")))
    assert reached("PublishClient.send, confirmed", tables) == Reached("failed", False)


def test_the_section_counts_what_was_met() -> None:
    tables = table("publish-unconfirmed", (CLIENT, "200 B", Cell([750.0], [0.75])))
    tables |= table("publish-confirmed", (CLIENT, "200 B", Cell([750.0], [0.75])))
    text = written_goals(tables)
    assert "1 of 2 met; 14 of 16 not measured." in text
    assert "| 0.75 | met |" in text
    assert "| 0.75 | **not met** |" in text
