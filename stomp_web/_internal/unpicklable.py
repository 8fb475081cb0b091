"""Objects that belong to one process: a pickle of one is refused, with what to do instead."""

from __future__ import annotations

import typing

__all__ = ["Unpicklable"]


class Unpicklable:
    """A base class for objects with connections, locks and secrets. Neither ``pickle`` nor ``copy`` takes them apart.

    A pickle is written into queues, caches and files, and would hold the passcode. A subclass that can be copied within
    its process has a ``__copy__`` and a ``__deepcopy__`` of its own.
    """

    __slots__ = ()

    #: What to do instead: the end of a sentence.
    _instead: typing.ClassVar[str] = "make another one where it is needed"

    def __reduce_ex__(self, protocol: typing.SupportsIndex) -> typing.NoReturn:
        """Raise `TypeError`."""
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: it belongs to its process, and a pickle would hold its "
            f"passcode; {self._instead}"
        )
