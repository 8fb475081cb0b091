"""The numbers of a publisher."""

from __future__ import annotations

import dataclasses

from ..pool import PoolStats

__all__ = ["PublisherStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class PublisherStats:
    """What became of the messages since this process began.

    `sent` succeeded (`confirmed` of them with the broker's receipt); `not_sent`, `rejected` and `unknown` failed, by
    the class of their exception. `pool` has the pool's numbers, ``None`` where there is no pool.
    """

    sent: int
    confirmed: int
    not_sent: int
    rejected: int
    unknown: int
    pool: PoolStats | None
