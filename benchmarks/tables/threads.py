"""Publishing from many threads."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench
from benchmarks.results import Cell, Table
from benchmarks.tables.rows import LIMIT, PEERS, WEB_POOL, WEB_PUBLISHER, Column, fill

_LIMIT = LIMIT.doing("limit: 8 threads, 8 raw sockets")
SIXTY_FOUR = "64 threads, confirmed"
LONGEST = "64 threads: longest wait / median"


def threads(bench: Bench) -> Table:
    columns = [
        Column("8 threads, unconfirmed", "unconfirmed", {"threads": 8}, counting=True, first=64),
        Column("8 threads, confirmed", "confirmed", {"threads": 8}, first=64),
        Column(SIXTY_FOUR, "confirmed", {"threads": 64}, {"threads": 8}, first=256),
    ]
    if bench.settings.quick:
        del columns[0]
    labels = [column.label for column in columns]
    table = Table(
        "publish-threads",
        "8 and 64 threads on a pool of 8, 200 B",
        "All threads of one process. The limit is always 8 threads, each with a socket of its own and no pool. "
        "stomp.py has one connection for all, stompest 8 in a queue, and the callers of stompman are tasks.",
        [*labels, LONGEST],
        [*["messages/s"] * len(labels), "times"],
        limit=_LIMIT.title,
        drawn=("8 threads, confirmed", SIXTY_FOUR),
    )
    rows = [_LIMIT, WEB_POOL, WEB_PUBLISHER, *PEERS]
    outcomes = fill(bench, table, rows, columns)
    for row in rows:
        waits = [outcome.waits for outcome in outcomes.get((row.title, SIXTY_FOUR), ()) if outcome.waits]
        if waits and row is not _LIMIT:
            table.put(row.title, LONGEST, Cell([wait["longest"] / wait["median"] for wait in waits]))
    for column in labels:
        waits = [outcome.waits for outcome in outcomes.get((WEB_PUBLISHER.title, column), ()) if outcome.waits]
        if waits:
            median, p99, longest = (
                statistics.median(wait[name] * 1e6 for wait in waits) for name in ("median", "p99", "longest")
            )
            table.notes.append(
                f"{WEB_PUBLISHER.title}, {column}: a call took {median:,.0f} us (median), {p99:,.0f} us (99 of 100), "
                f"{longest:,.0f} us (longest)"
            )
    return table
