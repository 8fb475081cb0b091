"""What connections and messages take in memory."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.results import Cell, Table
from benchmarks.rounds import Entry, alternate
from benchmarks.settings import MIB
from benchmarks.tables.rows import LIMIT, PEERS, WEB_CLIENT, WEB_POOL

IDLE = "8 idle connections"
THREADS = "their threads"
PEAK = "one send of 1 MiB"


def memory(bench: Bench) -> Table:
    sets = 3 if bench.settings.quick else 10
    table = Table(
        "memory",
        "Memory",
        f"By tracemalloc: what 8 connections that do nothing keep (the mean of {sets} sets of 8), how many threads "
        "they have, and what one unconfirmed send of a body of 1 MiB takes at its worst moment beside the body, in "
        "bodies. Memory of the operating system and stacks of threads are not in it.",
        [IDLE, THREADS, PEAK],
        ["KiB", "threads", "bodies"],
    )
    entries = []
    for row in (LIMIT, WEB_POOL, WEB_CLIENT, *PEERS):
        if bench.has(row.title, row.needs):
            idle = Case("idle", port=bench.sink.answering, threads=8)
            peak = Case("peak", port=bench.sink.counting, size=MIB)
            entries += [
                Entry(row.title, IDLE, row.contender, idle, row.ours, fixed=sets),
                Entry(row.title, PEAK, row.contender, peak, row.ours, fixed=3),
            ]
    series = alternate(bench, table.name, entries, 1)
    for row, column in series:
        one = series[row, column]
        name = "bytes" if column == IDLE else "bodies"
        table.put(row, column, Cell([outcome.numbers[name] for outcome in one.outcomes], failed=one.failed))
        if column == IDLE and one.failed is None:
            table.put(row, THREADS, Cell([outcome.numbers["threads"] for outcome in one.outcomes]))
    bench.dismiss()
    return table
