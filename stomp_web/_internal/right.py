"""A right that only one caller at a time can have. If the right is lost through an exception, a new right is made.

A signal handler may raise an exception between any two operations of Python. If the exception comes right after a
thread has taken a lock, the lock stays locked. A `Right` avoids this problem. Every right belongs to an object, its
home, such as the state of a pool. The home keeps the right in a list, deque or queue. A caller takes the right out, and
later puts the right back. If an exception prevents this, Python deletes the right, and `Right.__del__` asks the home to
make a new right. None of these actions waits, so a signal handler or a finalizer may perform the actions.
"""

from __future__ import annotations

import typing
import weakref

__all__ = ["Right"]


class _Home(typing.Protocol):
    def restore(self, lost: typing.Any) -> None:
        """Replace the right that was lost by a new `Right`.

        A finalizer calls this method, so the method must not wait or raise.
        """


class Right:
    """A right that *home* lends to one caller at a time, such as the right to open a connection.

    The right has only a weak reference to *home*. If no list, queue or caller holds the right any more, Python deletes
    the right. The finalizer then calls ``home.restore``.
    """

    __slots__ = ("__weakref__", "_home")

    def __init__(self, home: _Home) -> None:
        self._home = weakref.ref(home)

    def __del__(self) -> None:
        reference = getattr(self, "_home", None)  # ``None``: `__init__` was interrupted
        home = reference and reference()
        if home is not None:
            home.restore(self)
