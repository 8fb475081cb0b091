"""Inputs that are made to hurt, in two lengths: twice the bytes may take twice the time, and no more."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.hostile import INPUTS
from benchmarks.results import Cell, Table, written
from benchmarks.rounds import Entry, Series, alternate, pace
from benchmarks.tables.rows import CODEC, PEERS, RAW, Row

WEB = Row("stomp-web", CODEC, ours=True)
_MINIMAL = Row("minimal codec", RAW)
LONGEST = 3.0  # seconds: a peer that takes longer is stopped


def hostile(bench: Bench) -> Table:
    rows = [WEB] if bench.settings.quick else [WEB, _MINIMAL, *PEERS]
    rows = [row for row in rows if bench.has(row.title, row.needs)]
    table = Table(
        "hostile",
        "Inputs that are made to hurt",
        "Each is parsed in the length that is named and in half of it. A cell says how long the whole takes, and how "
        f"much longer that is than the half: 2 is linear, 4 is quadratic. The peers have one round, and are stopped "
        f"after {LONGEST:g} s.",
        [row.title for row in rows],
        ["ms"] * len(rows),
        first_heading="input",
    )
    for name, kind in INPUTS.items():
        half = kind.half
        label = f"{name}, {kind.length_name(2 * half)}"
        entries = []
        for row in rows:
            limit = {} if row is WEB else {"limit": LONGEST}
            entries += [
                Entry(
                    row.title, column, row.contender, Case("hostile", input=name, length=length), row.ours, 1, **limit
                )
                for column, length in (("half", half), ("whole", 2 * half))
            ]
        ours = [entry for entry in entries if entry.ours]
        others = [entry for entry in entries if not entry.ours]
        series = alternate(bench, f"hostile, {label}", ours)
        series.update(alternate(bench, f"hostile, {label}", others, 1))
        for row in rows:
            half_series = series.get((row.title, "half"), Series())
            table.put(label, row.title, _cell(half_series, series.get((row.title, "whole"), Series())))
    bench.dismiss()
    return table


def _cell(half: Series, whole: Series) -> Cell:
    if whole.failed is not None:
        return Cell(failed=whole.failed)
    values = whole.values(pace)
    ratios = [long / short for short, long in zip(half.values(pace), values, strict=False)]
    cell = Cell(values, ratios)
    if cell.value is not None and cell.ratio is not None:
        cell.text = f"{written(cell.value, 'ms')} ({cell.ratio:.2f}x)"
    return cell
