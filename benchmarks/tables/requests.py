"""What one confirmed message adds to a web request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.results import Cell, Table
from benchmarks.rounds import alternate, pace
from benchmarks.tables.rows import LIMIT, Column, Row, entries_for

_HERE = "benchmarks.contenders.apps:"
_LIMIT = LIMIT.doing("limit: raw socket, confirmed", sending="confirmed", plain="none")
WSGI = Row("WSGI", _HERE + "WsgiApplication", ours=True)
FLASK = Row("Flask", _HERE + "FlaskApplication", "flask", ours=True)
DJANGO = Row("Django", _HERE + "DjangoApplication", "django", ours=True)
ADDED = "added by the message"


def requests(bench: Bench) -> Table:
    columns = [Column("without a message", "plain"), Column("with a message", "sending")]
    table = Table(
        "requests",
        "Added to a web request by one confirmed message, 200 B",
        "An application is called directly, without a server. What is added is the difference between a view that "
        "sends one message and the same view without it; the limit is one confirmed message over a raw socket. Less is "
        "better.",
        [*[column.label for column in columns], ADDED],
        ["us", "us", "us"],
        limit=_LIMIT.title,
        first_heading="application",
    )
    rows = [_LIMIT, WSGI, FLASK, DJANGO]
    entries = [entry for column in columns for entry in entries_for(bench, rows, column, _LIMIT.title)]
    series = alternate(bench, table.name, entries)
    for row in rows:
        for column in columns:
            one = series.get((row.title, column.label))
            if one is not None:
                table.put(row.title, column.label, Cell(one.values(pace), failed=one.failed))
    raw = table.cell(_LIMIT.title, "with a message").values
    for row in rows[1:]:
        plain, sending = (table.cell(row.title, column.label).values for column in columns)
        added = [much - little for little, much in zip(plain, sending, strict=False)]
        if added:
            ratios = [mine / reference for mine, reference in zip(added, raw, strict=False)]
            table.put(row.title, ADDED, Cell(added, ratios))
    bench.dismiss()
    return table
