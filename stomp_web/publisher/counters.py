"""What one process counts of a publisher's messages, and the ids that it gives them."""

from __future__ import annotations

import itertools
import secrets
import typing

from ..errors import DeliveryUnknown, MessageError, Rejected, StompError

__all__ = ["Counters"]


class Counters:
    """The numbers of one process, and the next message id.

    The numbers are changed by ``+=``, without a lock: CPython 3.11 - 3.15 switches threads and runs signal handlers
    only at calls and at the end of a loop's step, and so not in the middle of that.
    """

    __slots__ = ("confirmed", "next_id", "not_sent", "pid", "rejected", "sent", "unknown")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        #: Returns the next message id: a random part for this process, and a count. One step of C code.
        self.next_id: typing.Callable[[], str] = map(f"{secrets.token_hex(8)}-%d".__mod__, itertools.count(1)).__next__
        self.sent = self.confirmed = self.not_sent = self.rejected = self.unknown = 0

    def failed(self, error: BaseException, count: int) -> None:
        """Of *count* messages, some or all ended with *error*."""
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

    def snapshot(self) -> dict[str, int]:
        """The numbers by their names in `PublisherStats`."""
        return {name: getattr(self, name) for name in ("sent", "confirmed", "not_sent", "rejected", "unknown")}
