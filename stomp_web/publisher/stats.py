"""The statistics of a publisher, and the ids of its messages."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
import typing

from ..errors import DeliveryUnknown, MessageError, Rejected, StompError
from ..pool import PoolStats

__all__ = ["Counters", "PublisherStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class PublisherStats:
    """The numbers of a publisher's messages in this process, by outcome.

    `sent` counts the messages that were sent without an error. `confirmed` counts the messages with the broker's
    receipt. `not_sent`, `rejected` and `unknown` count the failed messages. The exceptions `NotSent`, `Rejected` and
    `DeliveryUnknown` describe these three outcomes. `pool` contains the pool's statistics.
    """

    sent: int
    confirmed: int
    not_sent: int
    rejected: int
    unknown: int
    pool: PoolStats | None


class Counters:
    """The counters of one process, and the next message id.

    The counters change by ``+=``, without a lock. `stomp_web.pool.leases` explains why this is safe.
    """

    __slots__ = ("confirmed", "next_id", "not_sent", "pid", "rejected", "sent", "unknown")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # Returns the next message id: a random part for this process, and a count. One call of C code, so it is atomic.
        self.next_id: typing.Callable[[], str] = map(f"{secrets.token_hex(8)}-%d".__mod__, itertools.count(1)).__next__
        self.sent = self.confirmed = self.not_sent = self.rejected = self.unknown = 0

    def failed(self, error: BaseException, count: int) -> None:
        """Add the messages of a failed call to the counters. *count* is the number of messages in the call.

        If *error* lists confirmed or unsent messages, these count as confirmed or as not sent. For the other messages,
        the class of *error* selects the counter.
        """
        if isinstance(error, MessageError):
            done = len(error.confirmed)
            self.sent += done
            self.confirmed += done
            not_sent = len(error.not_sent)
            self.not_sent += not_sent
            count -= done + not_sent
        if isinstance(error, Rejected):
            self.rejected += count
        elif isinstance(error, DeliveryUnknown) or not isinstance(error, StompError):
            self.unknown += count
        else:
            self.not_sent += count

    def stats(self, pool: PoolStats | None) -> PublisherStats:
        """Return the current numbers, together with the statistics of *pool*."""
        return PublisherStats(self.sent, self.confirmed, self.not_sent, self.rejected, self.unknown, pool)
