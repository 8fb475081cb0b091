"""What a worker adds to the receiving of a message."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Cell, Table
from benchmarks.rounds import alternate, pace
from benchmarks.tables.receive import QUEUE
from benchmarks.tables.rows import WORKERS, Column, Row, entries_for

_WORKER = Row("stomp-web Worker, 1 thread", WORKERS, ours=True, tasks={"receive": "one_thread"})
PER_MESSAGE = "per message"
ADDED = "added by the worker"


def worker(bench: Bench) -> Table:
    table = Table(
        "worker",
        "The worker's cost per message, 200 B",
        "The sink sends ready MESSAGE frames as fast as they are taken. The bare client puts each on its queue, from "
        "which one thread takes it. The worker has one thread, too: it decodes the JSON of each message, calls a "
        "function that does nothing with it, and acknowledges it (`client-individual`). Less is better.",
        [PER_MESSAGE, ADDED],
        ["us"] * 2,
    )
    column = Column(PER_MESSAGE, "receive", first=100, most=200_000)
    series = alternate(bench, table.name, entries_for(bench, [QUEUE, _WORKER], column, ""))
    for (row, label), one in series.items():
        table.put(row, label, Cell(one.values(pace), failed=one.failed))
    table.rows.sort(key=[QUEUE.title, _WORKER.title].index)
    bare, ours = (table.cell(row.title, PER_MESSAGE).values for row in (QUEUE, _WORKER))
    added = [much - little for little, much in zip(bare, ours, strict=False)]
    if added:
        table.put(_WORKER.title, ADDED, Cell(added))
    bench.dismiss()
    return table
