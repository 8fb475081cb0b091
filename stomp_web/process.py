"""What belongs to a process, and is another's after a fork: the ids that it gives to messages, and its numbers."""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import typing

from .errors import DeliveryUnknown, MessageError, Rejected, StompError

__all__ = ["Counts", "MessageIds"]


class MessageIds:
    """Message ids: a random part for this process, and a count. A forked child takes a random part of its own."""

    def __init__(self) -> None:
        self._of: tuple[int, str, typing.Iterator[int]] = (
            0,
            "",
            itertools.count(1),
        )  # the process, and what is its own

    def next(self, pid: int | None = None) -> str:
        """The next id; *pid* is this process's, if the caller knows it."""
        of, prefix, counter = self._of
        pid = pid or os.getpid()
        if of != pid:
            # One tuple: two threads of a child that come here together must not mix a prefix with another's count.
            self._of = of, prefix, counter = pid, secrets.token_hex(8), itertools.count(1)
        return f"{prefix}-{next(counter)}"


class Counts:
    """How many messages went which way, in this process."""

    _NAMES = ("sent", "confirmed", "not_sent", "rejected", "unknown")

    def __init__(self) -> None:
        self._by_pid: dict[int, tuple[threading.Lock, dict[str, int]]] = {}

    def _current(self, pid: int | None = None) -> tuple[threading.Lock, dict[str, int]]:
        """The lock and the numbers of this process. A forked child never touches its parent's lock."""
        pid = pid or os.getpid()
        current = self._by_pid.get(pid)
        # Two threads of a child may come here together; setdefault lets one of them win.
        return current or self._by_pid.setdefault(pid, (threading.Lock(), dict.fromkeys(self._NAMES, 0)))

    def _add(self, **more: int) -> None:
        lock, numbers = self._current()
        with lock:
            for name, number in more.items():
                numbers[name] += number

    def succeeded(self, count: int, confirmed: bool, pid: int | None = None) -> None:
        """*count* messages were sent; *confirmed*, with the broker's receipts."""
        lock, numbers = self._by_pid.get(pid or 0) or self._current(pid)
        with lock:
            numbers["sent"] += count
            if confirmed:
                numbers["confirmed"] += count

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
        self._add(sent=done, confirmed=done, **{kind: count - done})

    def snapshot(self) -> dict[str, int]:
        """The numbers by their names in `PublisherStats`."""
        lock, numbers = self._current()
        with lock:
            return dict(numbers)
