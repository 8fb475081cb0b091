"""Per-process state, and objects that cannot be pickled. Every use looks up the state by process id.

A forked child must not use its parent's connections. The child must not use other state either, because a thread of the
parent may have been changing the state at the fork. uWSGI forks without the hooks of `os.register_at_fork`, so hooks do
not help.
"""

from __future__ import annotations

import typing

__all__ = ["PerProcess", "Unpicklable"]

_T = typing.TypeVar("_T")


class PerProcess(dict[int, _T]):
    """A dictionary with one object for each process. ``states[os.getpid()]`` is the object of this process.

    The first use in a process calls *make* with the process id. In a forked child, the first use also calls *leave*
    with the parent's object.
    """

    __slots__ = ("_leave", "_make")

    def __init__(self, make: typing.Callable[[int], _T], leave: typing.Callable[[_T], object] | None = None) -> None:
        super().__init__()
        self._make = make
        self._leave = leave

    def __missing__(self, pid: int) -> _T:
        # Two threads, or a thread and a signal handler, may be here together: with setdefault, one of them wins.
        fresh = self._make(pid)
        own = self.setdefault(pid, fresh)
        if own is fresh:
            for other in [other for other in self if other != pid]:
                inherited = self.pop(other, None)
                if inherited is not None and self._leave is not None:
                    self._leave(inherited)
        return own


class Unpicklable:
    """A base class of objects with connections, locks or secrets. ``pickle`` and ``copy`` raise `TypeError`.

    A subclass that can be copied within its process defines ``__copy__`` and ``__deepcopy__``.
    """

    __slots__ = ()

    #: The advice at the end of the error text.
    _instead: typing.ClassVar[str] = "make another one where it is needed"

    def __reduce_ex__(self, protocol: typing.SupportsIndex) -> typing.NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: it belongs to its process, and a pickle would hold its "
            f"passcode; {self._instead}"
        )
