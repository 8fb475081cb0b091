"""What one confirmed message adds to a web request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Cell, Table
from benchmarks.rounds import alternate, pace
from benchmarks.tables.rows import LIMIT, Column, Row, entries_for

_HERE = "benchmarks.contenders.apps:"
WSGI = Row("WSGI", _HERE + "WsgiApplication", ours=True)
FLASK = Row("Flask", _HERE + "FlaskApplication", "flask", ours=True)
DJANGO = Row("Django", _HERE + "DjangoApplication", "django", ours=True)
TRACED = FLASK.doing("Flask, two headers and a trace", sending="tracing")
RAW_ADDED = "added by a raw message"
ADDED = "added by the message"
RAW_TO_LOOP, TO_LOOP = "raw, to one in a loop", "ours, to a raw one in a loop"
_PLAIN, _RAW, _SENDING = "without a message", "with a raw message", "with a message"
_LOOP = LIMIT.doing("raw socket, in a loop", raw="confirmed")


def requests(bench: Bench) -> Table:
    columns = [Column(_PLAIN, "plain"), Column(_RAW, "raw"), Column(_SENDING, "sending")]
    labels = [column.label for column in columns]
    table = Table(
        "requests",
        "Added to a web request by one confirmed message, 200 B",
        "An application is called directly, without a server. What is added is the difference between a view that "
        "sends one message and the same view without it. The limit, to which the ratios in brackets are, is what the "
        "same view adds that writes ready bytes to a raw socket and reads the RECEIPT. Where a row says so, the "
        "message has two headers of its own, new ones each time, and an observer adds a `traceparent`. In a loop of "
        "nothing else, a raw message takes less time: the last row has it, and the last two columns are the ratios "
        "to it. Less is better.",
        [*labels, RAW_ADDED, ADDED, RAW_TO_LOOP, TO_LOOP],
        [*["us"] * 5, "times", "times"],
        first_heading="application",
    )
    rows = [WSGI, FLASK, TRACED, DJANGO]
    entries = [entry for column in columns for entry in entries_for(bench, [*rows, _LOOP], column, "")]
    series = alternate(bench, table.name, entries)
    for (row, column), one in series.items():
        table.put(row, column, Cell(one.values(pace), failed=one.failed))
    table.rows.sort(key=[*(row.title for row in rows), _LOOP.title].index)
    loop = table.cell(_LOOP.title, _RAW).values
    for row in rows:
        plain, raw, sending = (table.cell(row.title, label).values for label in labels)
        raw_added, added = (
            [much - little for little, much in zip(plain, values, strict=False)] for values in (raw, sending)
        )
        if added:
            table.put(row.title, RAW_ADDED, Cell(raw_added))
            table.put(row.title, ADDED, Cell(added, _shares(added, raw_added)))
            table.put(row.title, RAW_TO_LOOP, Cell(_shares(raw_added, loop)))
            table.put(row.title, TO_LOOP, Cell(_shares(added, loop)))
    bench.dismiss()
    return table


def _shares(times: list[float], limits: list[float]) -> list[float]:
    return [time / limit for time, limit in zip(times, limits, strict=False)]
