"""A memory of messages that come more than once: how often they have failed, and which ones are handled.

Both are bounded; the oldest entry goes when there are too many.
"""

from __future__ import annotations

import collections
import threading
import typing

from .delivery import Delivery, Key

__all__ = ["Duplicates", "FailureCounts"]

_MOST_FAILURES = 10_000


class FailureCounts:
    """How often each message has failed here, across its deliveries. A message without a key is not remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.OrderedDict[Key | None, int] = collections.OrderedDict()

    def get(self, key: Key | None) -> int:
        """Return the failures so far."""
        return self._counts.get(key, 0)

    def set(self, key: Key | None, failures: int) -> None:
        """Remember the number of *failures*. With 0, the message is forgotten: it will not come again."""
        with self._lock:
            self._counts.pop(key, None)
            if failures and key is not None:
                self._counts[key] = failures
                if len(self._counts) > _MOST_FAILURES:
                    self._counts.popitem(last=False)


class Duplicates:
    """The keys of the last *size* messages that were handled, and of those that are being handled now.

    With a *size* of 0 it remembers nothing, and every message is new.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._done: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._busy: dict[Key, list[Delivery]] = {}

    def begin(self, delivery: Delivery) -> typing.Literal["new", "done", "busy"]:
        """Say whether a message is ``new``, ``done``, or ``busy`` in a handler: `end` returns the delivery then."""
        key = delivery.key
        if not self._size or key is None:
            return "new"
        with self._lock:
            if key in self._done:
                return "done"
            if key in self._busy:
                self._busy[key].append(delivery)
                return "busy"
            self._busy[key] = []
            return "new"

    def end(self, delivery: Delivery, handled: bool) -> list[Delivery]:
        """The message is not in a handler any more; return the deliveries of it that came meanwhile."""
        key = delivery.key
        if not self._size or key is None:
            return []
        with self._lock:
            if handled:
                self._done[key] = None
                if len(self._done) > self._size:
                    self._done.popitem(last=False)
            return self._busy.pop(key, [])
