"""Who stands in the rows, and the table that most tables are: a rate for each, and its share of the limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.outcome import Outcome
from benchmarks.results import Cell, Table
from benchmarks.rounds import Entry, alternate, cell, rate

_HERE = "benchmarks.contenders."
RAW = _HERE + "raw:Raw"
CLIENT = _HERE + "web_publish:Client"
POOL = _HERE + "web_publish:Pool"
PUBLISHER = _HERE + "web_publish:WebPublisher"
CODEC = _HERE + "web_codec:Codec"
RECEIVING = _HERE + "web_receive:Receiving"
WORKERS = _HERE + "web_receive:Workers"


@dataclasses.dataclass(frozen=True)
class Row:
    """A contender as a table names it. *tasks* replaces the names of some of the tables' tasks."""

    title: str
    contender: str
    needs: str | None = None
    ours: bool = False
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def doing(self, title: str, **tasks: str) -> Row:
        """This contender under another title, with other tasks."""
        return dataclasses.replace(self, title=title, tasks=tasks)


LIMIT = Row("limit: raw socket", RAW, ours=True)
WEB_CLIENT = Row("stomp-web PublishClient", CLIENT, ours=True)
WEB_POOL = Row("stomp-web PublishClientPool", POOL, ours=True)
WEB_PUBLISHER = Row("stomp-web Publisher (JSON)", PUBLISHER, ours=True)
STOMP_PY = Row("stomp.py", _HERE + "peer_stomp_py:StompPy", "stomp.py")
STOMPMAN = Row("stompman", _HERE + "peer_stompman:Stompman", "stompman")
STOMPEST = Row("stompest", _HERE + "peer_stompest:Stompest", "stompest")
PEERS = (STOMP_PY, STOMPMAN, STOMPEST)


@dataclasses.dataclass(frozen=True)
class Column:
    """A case as a table names it: the task, and the fields of the `Case`.

    *counting* - over the port of the sink that only counts. *first* and *most* - calls, see `Entry`.
    """

    label: str
    task: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    limit_fields: Mapping[str, object] = dataclasses.field(default_factory=dict)  # where the limit's differ
    counting: bool = False
    first: int = 4
    most: int = 5_000_000


def more_rows(bench: Bench) -> list[Row]:
    """The contenders that the user has named."""
    return [Row(name, name, ours=True) for name in bench.settings.more]


def entries_for(bench: Bench, rows: Sequence[Row], column: Column, limit: str) -> list[Entry]:
    """What *rows* do in *column*; those that are not installed are left out, and named as skipped."""
    port = bench.sink.counting if column.counting else bench.sink.answering
    entries = []
    for row in rows:
        if bench.has(row.title, row.needs):
            fields = {"port": port, **column.fields, **(column.limit_fields if row.title == limit else {})}
            case = Case(row.tasks.get(column.task, column.task), **fields)  # type: ignore[arg-type]
            entries.append(
                Entry(row.title, column.label, row.contender, case, row.ours, first=column.first, most=column.most)
            )
    return entries


def fill(
    bench: Bench,
    table: Table,
    rows: Sequence[Row],
    columns: Sequence[Column],
    value: Callable[[Outcome], float] = rate,
) -> dict[tuple[str, str], list[Outcome]]:
    """Measure *columns* one after the other, put the cells into *table*, and return the outcomes.

    Each column begins with fresh processes: what a heap looks like after large bodies changes what the next ones cost.
    """
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    limit = table.limit or ""
    for column in columns:
        series = alternate(bench, table.name, entries_for(bench, rows, column, limit))
        reference = series.get((limit, column.label))
        for row in rows:
            key = (row.title, column.label)
            if key in series:
                table.put(*key, cell(series[key], value, reference))
                outcomes[key] = series[key].outcomes
        bench.dismiss()
    table.rows.sort(key=[row.title for row in rows].index)
    return outcomes


def text_cell(text: str) -> Cell:
    return Cell(text=text)
