"""The breaker: after failed attempts to connect, fail at once for a while instead of trying again each time."""

from __future__ import annotations

import random
import time

from ..errors import AuthenticationFailed, BrokerUnavailable, MessageError

__all__ = ["Breaker", "back_off"]

#: Seconds: the longest pause after the first failure, and the longest pause after many failures.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


def back_off(failures: int) -> float:
    """Return how many seconds to wait after this number of *failures* in a row, 1 or more.

    The wait is a random part of a limit that doubles with each failure ("full jitter"), so that processes come back one
    by one.
    """
    limit = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 100), LONGEST_PAUSE)
    return random.uniform(0, limit)  # noqa: S311 - not a secret


class Breaker:
    """Closed while connecting works; open for a random pause (`back_off`) after each failure in a row."""

    __slots__ = ("_error", "_failures", "_silence", "_until")

    def __init__(self) -> None:
        self.succeeded()

    def succeeded(self) -> None:
        """An attempt to connect succeeded."""
        self._failures = 0
        self._silence = 0.0  # total seconds given to attempts without an answer, since the last success
        self._until = 0.0
        self._error: MessageError | None = None

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next attempt is allowed; ``None`` while nothing has failed."""
        return max(self._until - time.monotonic(), 0.0) if self._failures else None

    def check(self, broker: str) -> None:
        """Raise what the last attempt raised, if the pause after it is not over yet."""
        error = self._error
        pause = self._until - time.monotonic()
        if error is None or pause <= 0:
            return
        times = "once" if self._failures == 1 else f"{self._failures} times in a row"
        words = f"{error} (it failed {times}, and is not tried now; the next attempt is made in {pause:.1f} s)"
        if isinstance(error, AuthenticationFailed):
            raise AuthenticationFailed(words, broker=broker, frame=error.frame)
        raise BrokerUnavailable(words, broker=broker, retry_after=pause)

    def failed(self, error: BrokerUnavailable | AuthenticationFailed) -> None:
        """An attempt to connect failed with *error*; `BrokerUnavailable` gets its `retry_after`."""
        self._failures = min(self._failures + 1, 100)
        pause = back_off(self._failures)
        self._error = error.__class__(str(error), broker=error.broker, frame=error.frame)
        self._until = time.monotonic() + pause
        if isinstance(error, BrokerUnavailable):
            error.retry_after = pause

    def timed_out(self, error: BrokerUnavailable, seconds: float, fair: float) -> None:
        """An attempt ended with *error*, because no broker answered in the *seconds* that each broker was given.

        This counts as a failure once such attempts were given *fair* seconds in total since the last success, because
        one attempt with a short deadline says nothing about the broker. The *seconds* are those given, not those that
        passed, because on a slow machine more time passes.
        """
        self._silence += seconds
        if self._silence >= fair:
            self.failed(error)
