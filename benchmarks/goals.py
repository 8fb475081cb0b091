"""What stomp-web is to reach: for each goal its limit, the cell that tells what was reached, and how much is enough."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.results import Table, written
from benchmarks.tables import hostile, imports, memory, receive, requests, threads
from benchmarks.tables.rows import WEB_CLIENT, WEB_POOL, WEB_PUBLISHER

Tables = Mapping[str, Table]


@dataclasses.dataclass(frozen=True)
class Reached:
    """What came of a goal. `spread` are the best and the worst round, `rates` the contender's value and the limit's."""

    value: str
    met: bool
    spread: str = ""
    rates: str = ""


@dataclasses.dataclass(frozen=True)
class Goal:
    """One goal. `reached` looks it up, and returns ``None`` if its table was not measured."""

    what: str
    limit: str
    to_reach: str
    reached: Callable[[Tables], Reached | None]


def _ratio(
    table: str, row: str, column: str, *, least: float | None = None, most: float | None = None
) -> Callable[[Tables], Reached | None]:
    """The ratio of a cell to the limit of its table, which is to be *least* or more, or *most* or less."""

    def reached(tables: Tables) -> Reached | None:
        if table not in tables:
            return None
        cell = tables[table].cell(row, column)
        if cell.ratio is None or cell.value is None:
            return Reached("failed", False) if cell.failed else None
        unit = tables[table].unit(column)
        limit = statistics.median(mine / ratio for mine, ratio in zip(cell.values, cell.ratios, strict=False))
        met = cell.ratio >= least if least is not None else cell.ratio <= (most or 0.0)
        return Reached(
            f"{cell.ratio:.2f}",
            met,
            f"{min(cell.ratios):.2f} - {max(cell.ratios):.2f}",
            f"{written(cell.value, unit)} / {written(limit, unit)} {unit}",
        )

    return reached


def _both(*each: Callable[[Tables], Reached | None]) -> Callable[[Tables], Reached | None]:
    """Several values, all of which must do."""

    def reached(tables: Tables) -> Reached | None:
        values = [value for look_up in each if (value := look_up(tables)) is not None]
        if not values:
            return None

        def joined(texts: Iterable[str]) -> str:
            return "; ".join(filter(None, texts))

        return Reached(
            joined(value.value for value in values),
            len(values) == len(each) and all(value.met for value in values),
            joined(value.spread for value in values),
            joined(value.rates for value in values),
        )

    return reached


def _value(
    table: str, row: str, column: str, most: float, form: Callable[[float], str]
) -> Callable[[Tables], Reached | None]:
    """The value of a cell, which is to be *most* or less."""

    def reached(tables: Tables) -> Reached | None:
        if table not in tables:
            return None
        cell = tables[table].cell(row, column)
        if cell.value is None:
            return Reached("failed", False) if cell.failed else None
        spread = f"{form(min(cell.values))} - {form(max(cell.values))}" if len(cell.values) > 1 else ""
        return Reached(form(cell.value), cell.value <= most, spread)

    return reached


def _hostile(tables: Tables) -> Reached | None:
    """The worst of all inputs."""
    if "hostile" not in tables:
        return None
    table = tables["hostile"]
    cells = {row: table.cell(row, hostile.WEB.title) for row in table.rows}
    if any(cell.ratio is None for cell in cells.values()):
        return Reached("failed", False)
    row, worst = max(cells.items(), key=lambda item: item[1].ratio or 0.0)
    return Reached(
        f"{worst.ratio:.2f}", (worst.ratio or 0.0) <= 2.3, f"{min(worst.ratios):.2f} - {max(worst.ratios):.2f}", row
    )


def _no_framework(tables: Tables) -> Reached | None:
    if "import" not in tables:
        return None
    others = tables["import"].cell(imports.WEB, imports.OTHERS).text or ""
    return Reached(f"{others} imported", others == "none")


ONE_RAW = "`sendall` of ready bytes, one call per message, TCP_NODELAY"
RAW_CONFIRMED = "the same, and reading the RECEIPT's bytes"
RAW_8 = "8 threads, 8 raw sockets"
MINIMAL = "a minimal parser: find, split, slice"

GOALS: Sequence[Goal] = (
    Goal(
        "PublishClient.send, unconfirmed, 1 thread",
        ONE_RAW,
        ">= 0.70",
        _ratio("publish-unconfirmed", WEB_CLIENT.title, "200 B", least=0.70),
    ),
    Goal(
        "PublishClient.send, confirmed, 1 thread",
        RAW_CONFIRMED,
        ">= 0.90",
        _ratio("publish-confirmed", WEB_CLIENT.title, "200 B", least=0.90),
    ),
    Goal(
        "Publisher.send of a small dict as JSON, confirmed, through the pool, 1 thread",
        RAW_CONFIRMED,
        ">= 0.80",
        _ratio("publish-confirmed", WEB_PUBLISHER.title, "200 B", least=0.80),
    ),
    Goal(
        "Publisher.send, confirmed, 8 threads on a pool of 8",
        RAW_8,
        ">= 0.65",
        _ratio("publish-threads", WEB_PUBLISHER.title, "8 threads, confirmed", least=0.65),
    ),
    Goal(
        "the same, 64 threads on a pool of 8; the longest wait of a thread against the median",
        RAW_8,
        ">= 0.50; <= 20x",
        _both(
            _ratio("publish-threads", WEB_PUBLISHER.title, threads.SIXTY_FOUR, least=0.50),
            _value("publish-threads", WEB_PUBLISHER.title, threads.LONGEST, 20.0, lambda times: f"{times:.1f}x"),
        ),
    ),
    Goal(
        "send_many of 64, unconfirmed",
        "one raw `sendall` per message",
        ">= 3.0",
        _ratio("publish-batch", WEB_CLIENT.title, "200 B, unconfirmed", least=3.0),
    ),
    Goal(
        "send_many of 64, each confirmed",
        "confirmed one by one, raw",
        ">= 5.0",
        _ratio("publish-batch", WEB_CLIENT.title, "200 B, each confirmed", least=5.0),
    ),
    Goal(
        "1 MiB body, unconfirmed; peak memory of one send, in bodies",
        "raw `sendall`; no copy of the body",
        ">= 0.95; <= 0.10",
        _both(
            _ratio("publish-unconfirmed", WEB_CLIENT.title, "1 MiB", least=0.95),
            _value("memory", WEB_CLIENT.title, memory.PEAK, 0.10, lambda bodies: f"{bodies:.2f} bodies"),
        ),
    ),
    Goal(
        "three sends, then a confirm",
        "raw with TCP_NODELAY",
        ">= 0.85",
        _ratio("publish-three", WEB_CLIENT.title, "200 B", least=0.85),
    ),
    Goal(
        "parsing MESSAGE frames, 64 KiB chunks, 0 B and 200 B bodies",
        MINIMAL,
        ">= 0.80",
        _both(
            _ratio("parse", hostile.WEB.title, "0 B", least=0.80),
            _ratio("parse", hostile.WEB.title, "200 B", least=0.80),
        ),
    ),
    Goal(
        "parsing 10 KiB and 1 MiB bodies",
        MINIMAL,
        ">= 0.90",
        _both(
            _ratio("parse", hostile.WEB.title, "10 KiB", least=0.90),
            _ratio("parse", hostile.WEB.title, "1 MiB", least=0.90),
        ),
    ),
    Goal("every hostile input, twice as long; the worst", "itself at half the length", "<= 2.3", _hostile),
    Goal(
        "receiving through QueueingDuplexClient, ack auto",
        "a raw loop that parses minimally",
        ">= 0.60",
        _ratio("receive", receive.QUEUE.title, "200 B", least=0.60),
    ),
    Goal(
        "added by one confirmed send to a Flask and a Django request",
        "added by a raw confirmed send to the same request; the table has one in a loop, too",
        "<= 1.3",
        _both(
            _ratio("requests", requests.FLASK.title, requests.ADDED, most=1.3),
            _ratio("requests", requests.DJANGO.title, requests.ADDED, most=1.3),
        ),
    ),
    Goal(
        "import stomp_web; other packages that come with it",
        "an empty interpreter",
        "<= 25 ms more; none",
        _both(
            _value("import", imports.WEB, imports.MORE, 0.025, lambda seconds: f"{seconds * 1000:.1f} ms"),
            _no_framework,
        ),
    ),
    Goal(
        "8 idle connections of a pool; their threads",
        "-",
        "<= 200 KiB; 0",
        _both(
            _value("memory", WEB_POOL.title, memory.IDLE, 200 * 1024, lambda size: f"{size / 1024:.0f} KiB"),
            _value("memory", WEB_POOL.title, memory.THREADS, 0.0, lambda number: f"{number:.0f} threads"),
        ),
    ),
)
