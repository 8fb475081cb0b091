"""The numbers of an outbox and of a relay."""

from __future__ import annotations

import dataclasses
import datetime
import typing

__all__ = ["OutboxStats", "RelayStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxStats:
    """How many rows are in each state; `oldest` - how long the oldest unsent row has waited, in seconds."""

    pending: int = 0
    waiting: int = 0
    failed: int = 0
    sent: int = 0
    oldest: float | None = None

    @classmethod
    def of(
        cls, counts: typing.Mapping[str, int], first: typing.Iterable[datetime.datetime | None], now: datetime.datetime
    ) -> OutboxStats:
        """Make the numbers of the rows in each state, and of when the first unsent row in each state was written."""
        oldest = min((moment for moment in first if moment is not None), default=None)
        return cls(**counts, oldest=None if oldest is None else max((now - oldest).total_seconds(), 0.0))


@dataclasses.dataclass(frozen=True, slots=True)
class RelayStats:
    """What one relay has done, and how the outbox stood when the relay last looked.

    `sent` - messages that the broker has confirmed; `failures` - tries that ended with another outcome; `problem` - why
    nothing can be sent now, such as a broker or a database that cannot be reached; ``""`` if there is no problem.
    """

    sent: int = 0
    failures: int = 0
    problem: str = ""
    outbox: OutboxStats = dataclasses.field(default_factory=OutboxStats)
