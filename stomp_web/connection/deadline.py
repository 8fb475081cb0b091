"""One deadline for a whole call: every phase of the call may use the time that earlier phases left over."""

from __future__ import annotations

import math
import typing
from time import monotonic

from .._internal.printable import short_repr
from ..errors import ConfigurationError

__all__ = ["Deadline", "checked", "deadline_in"]

# Seconds (eleven days): poll() and locks take no more than a few weeks, and raise OverflowError for more.
_LONGEST = 1_000_000.0


def checked(seconds: typing.Any) -> float:
    """Return *seconds* as a number for a deadline. Raises `ConfigurationError` if not positive and finite."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ConfigurationError(
            f"timeout must be a number of seconds greater than 0, not {short_repr(seconds)}", "timeout"
        )
    return float(seconds) if seconds < _LONGEST else _LONGEST


class Deadline:
    """The moment `at` (of `time.monotonic`) at which a call must be over, made from `seconds`, a `checked` timeout."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = monotonic() + seconds

    def remaining(self) -> float:
        """The seconds that are left; 0.0 if no time is left."""
        left = self.at - monotonic()
        return left if left > 0.0 else 0.0

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return monotonic() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        """A deadline *seconds* from now, or this one if it comes first."""
        return Deadline(min(self.remaining(), seconds))

    def share(self, parts: int) -> Deadline:
        """A deadline for the first of *parts* attempts that must fit into what is left."""
        return self.sooner(self.remaining() / parts)


_new = object.__new__


def deadline_in(seconds: float) -> Deadline:
    """Return ``Deadline(seconds)``, in half the time that CPython 3.11 takes for an object with an ``__init__``."""
    deadline = _new(Deadline)
    deadline.seconds = seconds
    deadline.at = monotonic() + seconds
    return deadline
