"""What one confirmed message adds to a web request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Cell, Table
from benchmarks.rounds import alternate, pace
from benchmarks.tables.rows import Column, Row, entries_for

_HERE = "benchmarks.contenders.apps:"
WSGI = Row("WSGI", _HERE + "WsgiApplication", ours=True)
FLASK = Row("Flask", _HERE + "FlaskApplication", "flask", ours=True)
DJANGO = Row("Django", _HERE + "DjangoApplication", "django", ours=True)
RAW_ADDED = "added by a raw message"
ADDED = "added by the message"
_PLAIN, _RAW, _SENDING = "without a message", "with a raw message", "with a message"


def requests(bench: Bench) -> Table:
    columns = [Column(_PLAIN, "plain"), Column(_RAW, "raw"), Column(_SENDING, "sending")]
    labels = [column.label for column in columns]
    table = Table(
        "requests",
        "Added to a web request by one confirmed message, 200 B",
        "An application is called directly, without a server. What is added is the difference between a view that "
        "sends one message and the same view without it; the limit is what the same view adds that writes ready bytes "
        "to a raw socket and reads the RECEIPT. (Such a message takes longer than one in a loop of nothing else: "
        "both processes have gone to sleep in between.) Less is better.",
        [*labels, RAW_ADDED, ADDED],
        ["us"] * 5,
        first_heading="application",
    )
    rows = [WSGI, FLASK, DJANGO]
    entries = [entry for column in columns for entry in entries_for(bench, rows, column, "")]
    series = alternate(bench, table.name, entries)
    for row in rows:
        for column in columns:
            one = series.get((row.title, column.label))
            if one is not None:
                table.put(row.title, column.label, Cell(one.values(pace), failed=one.failed))
        plain, raw, sending = (table.cell(row.title, label).values for label in labels)
        raw_added, added = (
            [much - little for little, much in zip(plain, values, strict=False)] for values in (raw, sending)
        )
        if added:
            table.put(row.title, RAW_ADDED, Cell(raw_added))
            table.put(
                row.title, ADDED, Cell(added, [mine / limit for mine, limit in zip(added, raw_added, strict=False)])
            )
    bench.dismiss()
    return table
