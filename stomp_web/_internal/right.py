"""A right that only one caller can have, and that no exception can lose.

A signal handler may raise between any two steps of Python. If that happens right after a lock was taken, the lock stays
locked. So a `Right` is used instead of a lock. Its home, for example the state of a pool, keeps it in a list, deque or
queue. A caller takes the right out and puts it back. If an exception loses the right, the home makes a new one. Signal
handlers and finalizers may do this, because putting back a right and making a new one never wait.
"""

from __future__ import annotations

import typing
import weakref

__all__ = ["Right"]


class _Home(typing.Protocol):
    def restore(self, lost: typing.Any) -> None:
        """Replace *lost* by a new right. A finalizer calls this method, so it must not wait and not raise."""


class Right:
    """A right that belongs to *home*. The home keeps the right alive; the right does not keep the home alive."""

    __slots__ = ("__weakref__", "_home")

    def __init__(self, home: _Home) -> None:
        self._home = weakref.ref(home)

    def __del__(self) -> None:
        reference = getattr(self, "_home", None)  # ``None``: `__init__` was interrupted
        home = reference and reference()
        if home is not None:
            home.restore(self)
