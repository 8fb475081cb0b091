"""A queue without a lock, whose `Box.get` always ends in time.

`queue.SimpleQueue` of CPython 3.11 and 3.12 is no alternative: if a signal handler runs until after the end of a
``get(timeout=...)``, this ``get`` waits for ever.
"""

from __future__ import annotations

import threading
import typing

__all__ = ["Box"]

_T = typing.TypeVar("_T")
# The arguments of the exceptions with which locks of Python and gevent refuse a release.
_NOT_LOCKED = (("release unlocked lock",), ("Semaphore released too many times",))


class Box(typing.Generic[_T]):
    """A queue of `items`, oldest first, for threads, signal handlers and finalizers.

    If several threads wait in `get`, the box must never have more than one item. At the start of `put`, an interrupt
    could come while the item is in no list. A caller that must not lose an item then calls ``items.append`` and `wake`
    instead.
    """

    __slots__ = ("_latch", "items")

    def __init__(self) -> None:
        self.items: list[_T] = []
        # Each `put` releases the latch, to wake a waiting thread. No thread holds the latch while it does other work.
        self._latch = threading.Lock()
        self._latch.acquire()

    def put(self, item: _T) -> None:
        """Add *item*, and wake a thread that waits in `get`."""
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        """Wake a thread that waits in `get`, now or next. If there is no item, this `get` returns ``None``."""
        try:
            self._latch.release()
        except RuntimeError as error:
            if error.args not in _NOT_LOCKED:  # otherwise, the last wake-up was not used yet
                raise  # by a signal handler

    def take(self) -> _T | None:
        """Remove and return the oldest item. Return ``None`` if there is no item."""
        try:
            return self.items.pop(0)
        except IndexError:
            return None

    def get(self, seconds: float) -> _T | None:
        """Remove and return the oldest item. If there is none, first wait for up to *seconds*.

        Return ``None`` if there is still no item. This may be before *seconds* are over: after `wake`, or if another
        thread has taken the item.
        """
        if not self.items:
            self._latch.acquire(timeout=seconds)
        return self.take()
