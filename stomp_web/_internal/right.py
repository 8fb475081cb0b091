"""A right that exists once, and that no exception can lose.

A signal handler may raise between any two steps of Python, also right after a lock was taken; the lock stays locked
then. A `Right` lies in a deque of its home instead; a caller pops it, and puts it back. If it is dropped on the way,
its home gets a new one. None of these steps waits, so a signal handler or a finalizer may take them.
"""

from __future__ import annotations

import typing
import weakref

__all__ = ["Right"]


class _Home(typing.Protocol):
    def restore(self, lost: typing.Any) -> None:
        """Put a new right in the place of *lost*. Called from a finalizer: it may not wait, and raises nothing."""


class Right:
    """A right of its *home*. The home keeps its rights alive; a right does not keep its home alive."""

    __slots__ = ("__weakref__", "_home")

    def __init__(self, home: _Home) -> None:
        self._home = weakref.ref(home)

    def __del__(self) -> None:
        reference = getattr(self, "_home", None)  # ``None``: interrupted while it was made
        home = reference and reference()
        if home is not None:
            home.restore(self)
