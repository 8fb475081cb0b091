"""A clock for brokers in this process, which a test sets forward instead of waiting."""

from __future__ import annotations

import time
import typing

from stomp_web.broker import connection, loop

if typing.TYPE_CHECKING:
    import pytest

    from stomp_web.broker import Broker

__all__ = ["Clock"]


class Clock:
    """Takes the place of `time` in the broker's modules. *speed* is how many of its seconds pass in a real second.

    A clock of another speed than 1 must be there before the broker is.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, speed: float = 1.0) -> None:
        self._speed = speed
        self._ahead = 0.0
        for module in (connection, loop):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return time.monotonic() * self._speed + self._ahead

    def forward(self, broker: Broker, seconds: float) -> None:
        """Set the clock forward, and wait until *broker* has run each timer that is due then."""
        self._ahead += seconds
        for _ in range(2):  # the first call ends before the timers of its round
            broker._loop.call(lambda: None)
