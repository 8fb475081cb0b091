"""What it costs to open a connection for each request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Table
from benchmarks.tables.rows import LIMIT, PEERS, WEB_CLIENT, WEB_POOL, Column, fill

_LIMIT = LIMIT.doing("limit: raw socket")


def connect(bench: Bench) -> Table:
    # Not more: each connection leaves a port behind that cannot be used again for a minute.
    columns = [Column("connect per request", "connect", most=1000), Column("kept", "confirmed")]
    table = Table(
        "connect",
        "A connection per request, against one that is kept, 200 B",
        "Per request: TCP, CONNECT, CONNECTED, SEND, DISCONNECT with its RECEIPT, close. Kept: the connection stays "
        "open, and each message is confirmed.",
        [column.label for column in columns],
        ["requests/s", "requests/s"],
        limit=_LIMIT.title,
        drawn=("connect per request",),
    )
    fill(bench, table, [_LIMIT, WEB_CLIENT, WEB_POOL, *PEERS], columns)
    return table
