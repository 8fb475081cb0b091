"""What was measured, ready to be told: tables of cells."""

from __future__ import annotations

import dataclasses
import statistics

#: How a number of a unit is written. What stands before the colon is what one unit is multiplied with.
UNITS = {
    "messages/s": (1.0, "{:,.0f}"),
    "requests/s": (1.0, "{:,.0f}"),
    "frames/s": (1.0, "{:,.0f}"),
    "us": (1e6, "{:,.1f}"),
    "ms": (1e3, "{:,.1f}"),
    "KiB": (1 / 1024, "{:,.1f}"),
    "threads": (1.0, "{:.0f}"),
    "bodies": (1.0, "{:.2f}"),
    "times": (1.0, "{:.2f}x"),
    "": (1.0, "{:g}"),
}


def written(value: float, unit: str) -> str:
    """*value* in its unit, for people, with spaces between thousands."""
    factor, form = UNITS[unit]
    return form.format(value * factor).replace(",", " ")


@dataclasses.dataclass
class Cell:
    """One number, measured once in each round; or why there is none.

    `ratios` are to the limit, in the same round. What counts is the median, of each by itself: what slows the machine
    down in one round slows the limit down, too, so that the ratios are steadier than the values.
    """

    values: list[float] = dataclasses.field(default_factory=list)
    ratios: list[float] = dataclasses.field(default_factory=list)
    failed: str | None = None
    text: str | None = None

    @property
    def value(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    def written(self, unit: str) -> str:
        """The cell as it stands in a table."""
        if self.text is not None:
            return self.text
        if self.failed is not None:
            return self.failed if self.failed.startswith(">") else "failed"
        if self.value is None:
            return "-"
        ratio = "" if self.ratio is None else f" ({self.ratio:.2f}x)"
        return written(self.value, unit) + ratio


@dataclasses.dataclass
class Table:
    """Rows of contenders, columns of cases.

    `units` are those of the columns. `limit` is the row to which the ratios are. `drawn` names the columns that are in
    the picture, and `undrawn` the rows that are not.
    """

    name: str
    title: str
    text: str
    columns: list[str]
    units: list[str]
    rows: list[str] = dataclasses.field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = dataclasses.field(default_factory=dict)
    limit: str | None = None
    drawn: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()
    first_heading: str = "contender"
    notes: list[str] = dataclasses.field(default_factory=list)

    def cell(self, row: str, column: str) -> Cell:
        """The cell, an empty one if it was not measured."""
        return self.cells.get((row, column), Cell())

    def put(self, row: str, column: str, cell: Cell) -> None:
        """Fill a cell; a row comes into being with its first one."""
        if row not in self.rows:
            self.rows.append(row)
        if cell.failed is not None:
            self.notes.append(f"{row}, {column}: {cell.failed}")
        self.cells[row, column] = cell

    def unit(self, column: str) -> str:
        return self.units[self.columns.index(column)]
