"""The statistics of an outbox and of a relay."""

from __future__ import annotations

import dataclasses
import datetime
import typing

__all__ = ["OutboxStats", "RelayStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxStats:
    """The number of rows in each state, and the ages of the oldest rows in seconds.

    `oldest` is the age of the oldest unsent row, which may be pending, waiting or failed. `oldest_pending` is the age
    of the oldest pending row. ``None`` means that there is no such row. If `oldest_pending` is high, check that a relay
    runs and reaches the broker.
    """

    pending: int = 0
    waiting: int = 0
    failed: int = 0
    sent: int = 0
    oldest: float | None = None
    oldest_pending: float | None = None

    @classmethod
    def of(
        cls, counts: typing.Mapping[str, int], first: typing.Iterable[datetime.datetime | None], now: datetime.datetime
    ) -> OutboxStats:
        """Return the statistics. *counts* maps each state to its number of rows.

        The iterable *first* yields one value for each state of unsent rows, beginning with ``pending``. The value is
        the creation time of the oldest row in this state, or ``None`` if no row is in this state.
        """
        ages = [None if moment is None else max((now - moment).total_seconds(), 0.0) for moment in first]
        oldest = max((age for age in ages if age is not None), default=None)
        return cls(**counts, oldest=oldest, oldest_pending=ages[0])


@dataclasses.dataclass(frozen=True, slots=True)
class RelayStats:
    """The statistics of one relay. `outbox` holds the last known statistics of the outbox.

    `sent` counts the messages that the broker has confirmed. `failures` counts the failed tries. A try does not count
    if the broker could not be reached. `problem` says why nothing can be sent now, for example because the database
    cannot be reached. Until the first look at the outbox, `problem` says that the relay is starting. Without a problem,
    `problem` is ``""``.
    """

    sent: int = 0
    failures: int = 0
    problem: str = ""
    outbox: OutboxStats = dataclasses.field(default_factory=OutboxStats)
