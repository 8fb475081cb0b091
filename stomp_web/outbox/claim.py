"""`Claim` holds the rows that one relay may send now. `Outcomes` holds the outcomes of these rows."""

from __future__ import annotations

import dataclasses
import datetime
import typing

from .rows import Row

__all__ = ["Claim", "Outcomes"]


@dataclasses.dataclass(slots=True)
class Outcomes:
    """The outcomes of the rows of a claim. A row of the claim without an outcome is not changed.

    * `sent` - the rows that the broker has confirmed.
    * `again` - maps a row's id to the attempts so far, the last error and the time of the next try.
    * `failed` - maps a row's id to the attempts so far and the last error.
    """

    sent: list[Row] = dataclasses.field(default_factory=list)
    again: dict[int, tuple[int, str, datetime.datetime]] = dataclasses.field(default_factory=dict)
    failed: dict[int, tuple[int, str]] = dataclasses.field(default_factory=dict)


class Claim:
    """Rows that only this relay may send now.

    `seen` is the number of rows that the store has locked. From the locked rows, the store has chosen `rows`, which may
    be sent now. The next claim can begin after the row with the id `last`.
    """

    def __init__(
        self,
        rows: typing.Sequence[Row] = (),
        seen: int = 0,
        last: int = 0,
        record: typing.Callable[[Outcomes], None] | None = None,
    ) -> None:
        self.rows = rows
        self.seen = seen
        self.last = last
        self._record = record

    def record(self, outcomes: Outcomes) -> None:
        """Write the outcomes of the rows. The outcomes are committed when the claim ends without an exception."""
        if self._record is not None:
            self._record(outcomes)
