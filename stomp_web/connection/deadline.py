"""One deadline for a whole call: every phase of it may use what the phases before it left over."""

from __future__ import annotations

import math
import time

from .._internal.printable import short_repr
from ..errors import ConfigurationError

__all__ = ["Deadline"]

# Seconds (eleven days): poll() and locks take no more than a few weeks, and fail with an OverflowError beyond.
_LONGEST = 1_000_000.0


class Deadline:
    """The moment, *seconds* from now, at which a call must be over.

    `seconds` is the whole time that was given. Raises `ConfigurationError` if *seconds* is not a positive, finite
    number: nothing in stomp-web waits without an end.
    """

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float) -> None:
        if type(seconds) is not float or not 0.0 < seconds <= _LONGEST:  # a second look; nearly none is needed
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise ConfigurationError(
                    f"timeout must be a number of seconds greater than 0, not {short_repr(seconds)}", "timeout"
                )
            seconds = min(seconds, _LONGEST)
        self.seconds = seconds
        self.at = time.monotonic() + self.seconds

    def remaining(self) -> float:
        """The seconds that are left, 0.0 if none are."""
        left = self.at - time.monotonic()
        return left if left > 0.0 else 0.0

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        """A deadline *seconds* from now, or this one if it comes first."""
        part = Deadline.__new__(Deadline)
        part.seconds = min(self.remaining(), seconds)
        part.at = time.monotonic() + part.seconds
        return part

    def share(self, parts: int) -> Deadline:
        """A deadline for the first of *parts* attempts that must fit into what is left."""
        return self.sooner(self.remaining() / parts)
