"""What every process has for itself, and is another's after a fork."""

from __future__ import annotations

import os
import typing

__all__ = ["PerProcess"]


class _OfOneProcess(typing.Protocol):
    pid: int


_T = typing.TypeVar("_T", bound=_OfOneProcess)


class PerProcess(typing.Generic[_T]):
    """An object for each process that asks for it: *make* makes it when a process asks first, and is given its id.

    So a forked child never touches what its parent had in hand, nor a lock that a thread of the parent holds, and no
    hook is needed that a server might not call. *leave*, if given, is told of what the child has inherited and leaves.

    The object has the attribute ``pid``, so that a fast path may look at `last` by itself.
    """

    __slots__ = ("_leave", "_make", "_of_pids", "last")

    def __init__(self, make: typing.Callable[[int], _T], leave: typing.Callable[[_T], object] | None = None) -> None:
        self._make = make
        self._leave = leave
        self._of_pids: dict[int, _T] = {}
        #: What was asked for last: this process's, if it has its ``pid``. At first it is of no process.
        self.last = make(0)

    def own(self, pid: int = 0) -> _T:
        """Return what is this process's. *pid* is its id, where that is known."""
        pid = pid or os.getpid()
        last = self.last
        if last.pid == pid:
            return last
        fresh = self._make(pid)
        # Two threads of the child may come here together; setdefault lets one of them win.
        current = self._of_pids.setdefault(pid, fresh)
        if current is fresh:
            self.last = fresh
            if self._leave is not None:
                self._leave(last)
            self._of_pids.pop(last.pid, None)
        return current
