"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.goals import GOALS
from benchmarks.results import Table, written
from benchmarks.tables.rows import PEERS


def head(facts: Mapping[str, str], skipped: Mapping[str, str]) -> str:
    """What the reader must know first: where and when this was measured, and who is missing."""
    lines = ["# stomp-web, its peers, and the limits", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += [f"* Skipped: {who} ({why})" for who, why in skipped.items()]
    lines += [
        "",
        "In brackets: the share of the limit, which is the first row, in the same round. Values and shares are",
        "medians, each by itself. The machine is never quiet: only ratios within one run mean anything.",
        "",
    ]
    return "\n".join(lines)


def table(one: Table) -> str:
    """One table with what is to be known of it."""
    headings = [f"{column}, {unit}" if unit else column for column, unit in zip(one.columns, one.units, strict=True)]
    if len(set(one.units)) == 1 and one.units[0]:
        headings = list(one.columns)
    same = f" In {one.units[0]}." if headings == one.columns and one.units[0] else ""
    lines = [f"## {one.title}", "", one.text + same, ""]
    rows = [[row, *(one.cell(row, column).written(one.unit(column)) for column in one.columns)] for row in one.rows]
    lines += grid([one.first_heading, *headings], rows)
    if one.notes:
        lines += ["", *(f"* {note}" for note in one.notes)]
    return "\n".join([*lines, ""])


def summary(tables: Mapping[str, Table]) -> str:
    """One line for each case that is drawn: the limit, and which share of it the best of each library reaches."""
    cases = [
        (one, column) for one in tables.values() for column in one.drawn if one.cell(one.limit or "", column).values
    ]
    names = ["stomp-web", *(peer.title for peer in PEERS)]
    present = [name for name in names if any(row.startswith(name) for one, _ in cases for row in one.rows)]
    if not cases:
        return ""
    rows = []
    for one, column in cases:
        limit = one.cell(one.limit or "", column).value or 0.0
        title = one.title if column in one.title else f"{one.title}: {column}"
        rows.append([title, f"{written(limit, one.unit(column))} {one.unit(column)}"])
        for name in present:
            ratios = [one.cell(row, column).ratio for row in one.rows if row.startswith(name)]
            best = max((ratio for ratio in ratios if ratio is not None), default=None)
            rows[-1].append("-" if best is None else f"{best:.2f}")
    lines = ["## In short", "", "The share of the limit that the best of each library reaches.", ""]
    return "\n".join([*lines, *grid(["what", "the limit", *present], rows), ""])


def goals(tables: Mapping[str, Table]) -> str:
    """What was to be reached, and what was."""
    rows, met, measured = [], 0, 0
    for goal in GOALS:
        reached = goal.reached(tables)
        if reached is None:
            continue
        measured += 1
        met += reached.met
        verdict = "met" if reached.met else "**not met**"
        rows.append([goal.what, goal.limit, goal.to_reach, reached.value, verdict, reached.spread, reached.rates])
    if not rows:
        return ""
    headings = ["what", "the limit", "to reach", "reached", "", "worst and best round", "values"]
    lines = ["## Goals", "", f"{met} of {measured} met; {len(GOALS) - measured} of {len(GOALS)} not measured.", ""]
    lines += grid(headings, rows, left=7)
    return "\n".join([*lines, ""])


def problems(words: Sequence[str]) -> str:
    """What makes the run fail."""
    if not words:
        return "Nothing was lost: in every run the other end has counted what the contender says it has sent.\n"
    return "\n".join(["## Problems", "", *(f"* {each}" for each in words), ""])


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """A Markdown table; the first *left* columns are aligned to the left, the others to the right."""
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("|" + "|".join("---" if number < left else "--:" for number in range(len(headings))) + "|")
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return lines
