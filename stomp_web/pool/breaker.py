"""The breaker of a pool, which forbids attempts to connect during a pause after a failed attempt."""

from __future__ import annotations

import random
import time

from ..errors import AuthenticationFailed, BrokerUnavailable, MessageError

__all__ = ["Breaker", "back_off"]

#: The longest pause after the first failure, and the longest pause after many failures, in seconds.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


def back_off(failures: int) -> float:
    """Return how many seconds to wait after *failures* failed attempts in a row. *failures* is at least 1.

    The wait is a random time below a limit ("full jitter"). So processes do not reconnect at the same time. The limit
    is 0.5 seconds after the first failure. Every further failure doubles the limit, up to 30 seconds.
    """
    limit = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 100), LONGEST_PAUSE)
    return random.uniform(0, limit)  # noqa: S311 - not a secret


class Breaker:
    """The circuit breaker of one pool in one process. While the breaker is open, the pool does not try to connect.

    A failed attempt to connect opens the breaker for a random pause. `timed_out` has the rule for timeouts.
    """

    __slots__ = ("_error", "_failures", "_silence", "_until")

    def __init__(self) -> None:
        self.succeeded()

    def succeeded(self) -> None:
        """Close the breaker after a successful attempt to connect."""
        self._failures = 0
        self._silence = 0.0  # total seconds allowed for attempts without an answer, since the last success
        self._until = 0.0
        self._error: MessageError | None = None

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next attempt is allowed. ``None`` if the breaker has not opened since the last success."""
        return max(self._until - time.monotonic(), 0.0) if self._failures else None

    def check(self, broker: str) -> None:
        """If the breaker is open, raise the error of the last failed attempt. The exception names *broker*."""
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
        """Open the breaker after *error*. If *error* is a `BrokerUnavailable`, set its `retry_after`."""
        self._failures = min(self._failures + 1, 100)
        pause = back_off(self._failures)
        self._error = error.__class__(str(error), broker=error.broker, frame=error.frame)
        self._until = time.monotonic() + pause
        if isinstance(error, BrokerUnavailable):
            error.retry_after = pause

    def timed_out(self, error: BrokerUnavailable, seconds: float, fair: float) -> None:
        """Record an attempt that failed with *error* because a broker did not answer within *seconds*.

        One timeout after a short deadline says nothing about the broker. So the breaker adds up the *seconds* of all
        timeouts since the last success. If the sum reaches *fair* seconds, the breaker opens. *seconds* is the time
        that was allowed for each broker. The elapsed time does not count, because the elapsed time is longer on a slow
        machine.
        """
        self._silence += seconds
        if self._silence >= fair:
            self.failed(error)
