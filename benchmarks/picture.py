"""The report as a picture: an SVG with a bar for each contender, as long as its share of the limit.

It has no background, and its greys can be read on white and on black; text stays text, so that it can be searched and
read aloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.results import Table, written

WIDTH = 860
NAMES = 335  # where the bars begin
BARS = 380  # how long the longest one is
LINE = 20
TEXT = "#7b8088"
OURS, LIMIT, PEER = "#2f8f5b", "#8a8f98", "#4f7fb8"


def picture(tables: Mapping[str, Table], caption: Sequence[str]) -> str:
    """The SVG of all the columns that the tables want drawn; *caption* are the lines below them."""
    parts: list[str] = []
    y = 28
    for table in tables.values():
        for column in table.drawn:
            rows = [row for row in table.rows if row not in table.undrawn]
            shares = {row: share for row in rows if (share := table.cell(row, column).ratio) is not None}
            if shares:
                y = _panel(parts, table, column, shares, y)
    for line in caption:
        parts.append(_text(0, y, line, size=11))
        y += 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" width="{WIDTH}" height="{y + 12}" '
            'role="img" font-family="system-ui, sans-serif">',
            f"<title>{escape(caption[0])}</title>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(parts: list[str], table: Table, column: str, shares: Mapping[str, float], y: int) -> int:
    """One group of bars, as long as the shares of the limit; returns where the next one begins."""
    unit = table.unit(column)
    title = table.title if column in table.title else f"{table.title}: {column}"
    parts.append(_text(0, y, title, size=14, bold=True))
    parts.append(_text(WIDTH, y, unit, size=11, anchor="end"))
    y += 10
    longest = max(shares.values())
    for row, share in shares.items():
        length = max(BARS * share / longest, 1.0)
        colour = LIMIT if row == table.limit else OURS if row.startswith("stomp-web") else PEER
        words = written(table.cell(row, column).value or 0.0, unit) + ("" if row == table.limit else f"  {share:.2f}x")
        parts.append(_text(NAMES - 10, y + 13, row, anchor="end", bold=colour == OURS))
        parts.append(f'<rect x="{NAMES}" y="{y + 2}" width="{length:.1f}" height="14" rx="2" fill="{colour}"/>')
        parts.append(_text(NAMES + length + 8, y + 13, words))
        y += LINE
    return y + 34


def _text(x: float, y: int, words: str, *, size: int = 12, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" text-anchor="{anchor}"{weight} fill="{TEXT}" '
        f'xml:space="preserve">{escape(words)}</text>'
    )
