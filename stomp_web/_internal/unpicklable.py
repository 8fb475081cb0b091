"""Objects that belong to one process and cannot be pickled."""

from __future__ import annotations

import typing

__all__ = ["Unpicklable"]


class Unpicklable:
    """A base class for objects with connections, locks and secrets: ``pickle`` and ``copy`` raise `TypeError`.

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
