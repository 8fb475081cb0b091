"""The statistics of a worker."""

from __future__ import annotations

import collections
import dataclasses
import threading

__all__ = ["Counters", "WorkerStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker has done since `Worker.run` was called.

    * `received` - messages from the broker, including redelivered messages.
    * `handled` - calls of handlers that returned.
    * `failed` - calls of handlers that raised or whose process died, and messages that could not be read.
    * `given_back` - messages returned to their queue by NACK; `retried` - messages tried again without NACK.
    * `dead_lettered` - messages sent to the dead letter destination.
    * `duplicates` - messages that had been handled before and were dropped.
    * `stale` - acknowledgements that were not sent, because their session had ended; the messages come again.
    * `in_flight` - messages in a handler now; `waiting` - messages that wait for a handler.
    * `connects` - sessions so far; `connected` - whether there is a session now.
    * `seconds` - how long the run has taken so far.
    """

    received: int = 0
    handled: int = 0
    failed: int = 0
    given_back: int = 0
    retried: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    stale: int = 0
    in_flight: int = 0
    waiting: int = 0
    connects: int = 0
    connected: bool = False
    seconds: float = 0.0


class Counters:
    """Counters that many threads increase. Their names are fields of `WorkerStats`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: collections.Counter[str] = collections.Counter()

    def add(self, name: str) -> None:
        """Add 1 to the counter *name*."""
        with self._lock:
            self._numbers[name] += 1

    def snapshot(self) -> collections.Counter[str]:
        """Return the values of all counters at one moment."""
        with self._lock:
            return self._numbers.copy()
