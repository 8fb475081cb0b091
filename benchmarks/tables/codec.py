"""Frames to bytes, and back, without a socket."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Table
from benchmarks.settings import KIB, MIB, size_name
from benchmarks.tables.rows import CODEC, PEERS, RAW, Column, Row, fill

_LIMIT = Row("limit: minimal codec", RAW, ours=True)
_WEB = Row("stomp-web", CODEC, ours=True)
_ROWS = [_LIMIT, _WEB, *PEERS]


def encode(bench: Bench) -> Table:
    sizes = (200,) if bench.settings.quick else (0, 200, 10 * KIB, MIB)
    columns = [Column(size_name(size), "encode", {"size": size}, first=100) for size in sizes]
    table = Table(
        "encode",
        "Encoding SEND frames with four headers",
        "From a command, a dict and a body to bytes. The limit joins strings and checks nothing.",
        [column.label for column in columns],
        ["frames/s"] * len(columns),
        limit=_LIMIT.title,
        drawn=("200 B",),
    )
    fill(bench, table, _ROWS, columns)
    return table


def parse(bench: Bench) -> Table:
    cuts = {"whole": ("", (0, 200, 10 * KIB, MIB)), "fragments": (", 1-16 bytes", (0, 200, 10 * KIB))}
    cuts["single"] = (", single bytes", (200, 10 * KIB))
    if bench.settings.quick:
        cuts["fragments"] = (", 1-16 bytes", (200,))
        cuts["single"] = (", single bytes", (200,))
    columns = [
        Column(size_name(size) + name, "parse", {"size": size, "cut": cut}, first=1)
        for cut, (name, sizes) in cuts.items()
        for size in sizes
    ]
    table = Table(
        "parse",
        "Parsing MESSAGE frames with eight headers",
        "From bytes to frames, fed in chunks of 64 KiB where nothing else is said. The limit finds, splits and slices, "
        "and checks nothing.",
        [column.label for column in columns],
        ["frames/s"] * len(columns),
        limit=_LIMIT.title,
        drawn=("200 B", "10 KiB"),
    )
    fill(bench, table, _ROWS, columns)
    return table
