"""Receiving."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Table
from benchmarks.settings import KIB, size_name
from benchmarks.tables.rows import LIMIT, PEERS, RECEIVING, WORKERS, Column, Row, fill

_LIMIT = LIMIT.doing("limit: raw socket, minimal parser")
QUEUE = Row("stomp-web QueueingDuplexClient", RECEIVING, ours=True, tasks={"receive": "queue"})
_OURS = [
    QUEUE,
    QUEUE.doing("stomp-web QueueingDuplexClient.receive", receive="single_calls"),
    QUEUE.doing("stomp-web PublishSubscribeClient", receive="callback"),
    Row("stomp-web Worker, ack auto", WORKERS, ours=True, tasks={"receive": "auto"}),
    Row("stomp-web Worker, ack client-individual", WORKERS, ours=True, tasks={"receive": "individual"}),
]


def receive(bench: Bench) -> Table:
    sizes = (200,) if bench.settings.quick else (200, 10 * KIB)
    columns = [Column(size_name(size), "receive", {"size": size}, first=100, most=200_000) for size in sizes]
    table = Table(
        "receive",
        "Receiving, ack auto where nothing else is said",
        "The sink sends ready MESSAGE frames as fast as they are taken, from the word to go until the last one has "
        "come out. The limit reads and parses minimally, in one thread. The worker decodes the JSON of each message "
        "and calls a function with it, in 8 threads; it acknowledges each, with `auto` before that, and with "
        "`client-individual` after it; the sink must have counted as many.",
        [column.label for column in columns],
        ["messages/s"] * len(columns),
        limit=_LIMIT.title,
        drawn=("200 B",),
    )
    fill(bench, table, [_LIMIT, *_OURS, *PEERS], columns)
    return table
