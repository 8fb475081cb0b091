"""The clocks of one session's heart-beats. Nothing here sends or reads."""

from __future__ import annotations

import time

__all__ = ["HeartBeats"]

# A heart-beat is late after this many of its intervals: the "error margin" of STOMP 1.2, Heart-beating. ActiveMQ 5.17
# leaves out a beat after a frame, so that two intervals pass without a byte; RabbitMQ 3.10 waits for three, too.
_TOLERANCE = 3.0


class HeartBeats:
    """The two clocks of a session. *agreed* is in milliseconds: (we send, they send), 0 for never.

    `sent` and `received` are the moments (``time.monotonic()``) of the last byte in each direction; any byte counts.
    """

    __slots__ = ("_expects", "_sends", "received", "sent")

    def __init__(self, agreed: tuple[int, int]) -> None:
        # Half the interval, so that the scheduling of threads cannot make a beat late.
        self._sends = agreed[0] / 2000
        self._expects = _TOLERANCE * agreed[1] / 1000
        self.sent = self.received = time.monotonic()

    def due(self, now: float) -> bool:
        """Whether a beat is to be sent."""
        return bool(self._sends) and now >= self.sent + self._sends

    def overdue(self, now: float) -> str | None:
        """What to say if the broker has been silent for too long; ``None`` if it has not."""
        if not self._expects or now < self.received + self._expects:
            return None
        promised = self._expects * 1000 / _TOLERANCE
        return f"no byte came for {self._expects:g} s; a heart-beat was promised every {promised:g} ms"

    def rest(self, now: float, reading: bool) -> float | None:
        """The seconds until something is due, ``None`` if nothing ever is. A beat of the broker counts if *reading*."""
        moments = [self.sent + self._sends] if self._sends else []
        if self._expects and reading:
            moments.append(self.received + self._expects)
        return max(min(moments) - now, 0.0) if moments else None
