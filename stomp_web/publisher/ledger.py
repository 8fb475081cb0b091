"""The ledger of a publisher: the ids that it gives to messages, and how many went which way."""

from __future__ import annotations

import itertools
import secrets
import threading

from ..errors import DeliveryUnknown, MessageError, Rejected, StompError

__all__ = ["Ledger", "Tally"]


class Tally:
    """A count that many threads add to without a lock: `add` is one step of the interpreter.

    Measured on CPython 3.11: 0.04 us, against 0.36 us for a number under a lock.
    """

    __slots__ = ("_lock", "_looks", "add")

    def __init__(self) -> None:
        #: Adds one, and returns what it was before, with one for each look.
        self.add = itertools.count().__next__
        self._lock = threading.Lock()
        self._looks = 0

    def value(self) -> int:
        """How often `add` was called. A look counts, too, and is taken off again."""
        with self._lock:
            value = self.add() - self._looks
            self._looks += 1
        return value


class Ledger:
    """One process's ledger of a publisher: the ids of its messages, and how many went which way.

    * `pid` - the process. A forked child needs a ledger of its own: see `stomp_web._internal.per_process`.
    * `confirmed`, `unconfirmed` - messages that were sent by themselves and succeeded.
    """

    __slots__ = ("_lock", "_numbers", "_prefix", "_serial", "confirmed", "pid", "unconfirmed")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._prefix = secrets.token_hex(8)
        self._serial = itertools.count(1)
        self.confirmed = Tally()
        self.unconfirmed = Tally()
        self._lock = threading.Lock()
        self._numbers = dict.fromkeys(("sent", "confirmed", "not_sent", "rejected", "unknown"), 0)

    def next_id(self) -> str:
        """The next message id: a random part for this process, and a count."""
        return f"{self._prefix}-{next(self._serial)}"

    def _add(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._numbers[name] += number

    def succeeded(self, count: int, confirmed: bool) -> None:
        """*count* messages were sent; *confirmed*, with the broker's receipts."""
        self._add(sent=count, confirmed=count if confirmed else 0)

    def failed(self, error: BaseException, count: int) -> None:
        """Of *count* messages, some or all ended with *error*."""
        done = len(error.confirmed) if isinstance(error, MessageError) else 0
        kind = (
            "rejected"
            if isinstance(error, Rejected)
            else "unknown"
            if isinstance(error, DeliveryUnknown) or not isinstance(error, StompError)
            else "not_sent"
        )
        numbers = {kind: count - done}
        if kind == "unknown" and isinstance(error, MessageError) and error.not_sent:
            numbers = {kind: count - done - len(error.not_sent), "not_sent": len(error.not_sent)}
        self._add(sent=done, confirmed=done, **numbers)

    def snapshot(self) -> dict[str, int]:
        """The numbers by their names in `PublisherStats`."""
        with self._lock:
            numbers = dict(self._numbers)
        confirmed = self.confirmed.value()
        numbers["confirmed"] += confirmed
        numbers["sent"] += confirmed + self.unconfirmed.value()
        return numbers
