"""Publishing from one thread."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Table
from benchmarks.settings import MIB, size_name
from benchmarks.tables.rows import LIMIT, PEERS, WEB_CLIENT, WEB_POOL, WEB_PUBLISHER, Column, fill, more_rows

_BATCH_LIMIT = LIMIT.doing("limit: raw socket, one by one", batch="unconfirmed", batch_confirmed="confirmed")
_JOINED = LIMIT.doing("raw socket, 64 joined")


def _by_size(bench: Bench, task: str, counting: bool, *quick: int) -> list[Column]:
    return [Column(size_name(size), task, {"size": size}, counting=counting) for size in bench.settings.sizes(*quick)]


def unconfirmed(bench: Bench) -> Table:
    columns = _by_size(bench, "unconfirmed", True, 200, MIB)
    table = Table(
        "publish-unconfirmed",
        "Unconfirmed, 1 thread",
        "One call for each message, and one receipt at the end, which is awaited inside the measured time. The limit "
        "is `sendall` of ready bytes with TCP_NODELAY, one call for each message.",
        [column.label for column in columns],
        ["messages/s"] * len(columns),
        limit=LIMIT.title,
        drawn=("200 B", "1 MiB"),
    )
    fill(bench, table, [LIMIT, WEB_CLIENT, WEB_PUBLISHER, *PEERS, *more_rows(bench)], columns)
    return table


def confirmed(bench: Bench) -> Table:
    columns = _by_size(bench, "confirmed", False, 200)
    table = Table(
        "publish-confirmed",
        "Confirmed one by one, 1 thread",
        "The broker's receipt of each message is awaited before the next one. The limit is `sendall` of ready bytes, "
        "and `recv` until the RECEIPT is there. The publisher writes a small dict as JSON, and borrows a connection "
        "for each message.",
        [column.label for column in columns],
        ["messages/s"] * len(columns),
        limit=LIMIT.title,
        drawn=("200 B",),
    )
    fill(bench, table, [LIMIT, WEB_CLIENT, WEB_POOL, WEB_PUBLISHER, *PEERS, *more_rows(bench)], columns)
    return table


def three(bench: Bench) -> Table:
    columns = [Column("200 B", "three")]
    table = Table(
        "publish-three",
        "Three sends, the last one confirmed, 1 thread",
        "What a request does that sends three messages. Without TCP_NODELAY it takes 40 ms: the second one waits for "
        "the delayed acknowledgement of the first.",
        ["200 B"],
        ["requests/s"],
        limit=LIMIT.title,
        drawn=("200 B",),
    )
    fill(bench, table, [LIMIT, WEB_CLIENT, WEB_PUBLISHER, *PEERS, *more_rows(bench)], columns)
    return table


def batch(bench: Bench) -> Table:
    columns = [
        Column("200 B, unconfirmed", "batch", counting=True),
        Column("200 B, each confirmed", "batch_confirmed"),
    ]
    table = Table(
        "publish-batch",
        "Batches of 64, 1 thread",
        "`send_many` of 64 messages. The limit sends one message after the other, and confirms each before the next "
        "one. The peers have nothing of the kind.",
        [column.label for column in columns],
        ["messages/s", "messages/s"],
        limit=_BATCH_LIMIT.title,
        drawn=("200 B, unconfirmed", "200 B, each confirmed"),
        undrawn=(_JOINED.title,),
    )
    fill(bench, table, [_BATCH_LIMIT, _JOINED, WEB_CLIENT, WEB_PUBLISHER], columns)
    return table
