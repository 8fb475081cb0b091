"""Faults, and the rule that selects the fault of a frame.

A fault waits for a frame of a client, or for a new connection. At most one fault applies to it: the first one added.
"""

from __future__ import annotations

import dataclasses
import threading

from ..protocol import Frame

__all__ = ["ACCEPT", "Fault", "FaultRules"]

#: The event of a fault that waits for a new connection instead of a frame.
ACCEPT = "accept"


@dataclasses.dataclass(eq=False)
class Fault:
    """One fault. `stomp_web.broker.Faults` makes them; tests read `fired` and call `cancel`."""

    on: str | None  #: The command of the frame, `ACCEPT` for a new connection, ``None`` for any frame.
    after: int = 0  #: How many of those events pass without the fault.
    times: int | None = 1  #: How often it happens; ``None``: every time from then on.
    fired: int = 0  #: How often it has happened.
    passed: int = 0  #: How many events have passed.

    process: bool = True  #: The frame takes effect.
    answer: bool = True  #: The broker's own answers to the frame are sent.
    before: bytes = b""  #: Sent before the answers.
    instead: Frame | None = None  #: Sent as the answer.
    receipt_id: bool = True  #: An ERROR sent instead names the receipt that the frame asked for.
    after_answer: bytes = b""  #: Sent after the answers.
    copies: int = 1  #: How often a RECEIPT is sent.
    late: bool = False  #: A RECEIPT is kept back until another RECEIPT has been sent.
    delay: float = 0.0  #: Seconds by which the answers and all later frames of the connection are delayed.
    freeze: bool = False  #: The connection is neither read nor written from then on, until `Faults.thaw`.
    close: bool = False  #: The connection is closed after the answers were sent.
    abort: bool = False  #: The connection is closed at once.
    reset: bool = False  #: It is closed with a TCP reset instead of an end of file.
    dribble: float | None = None  #: Every byte is sent alone, with this many seconds between two.

    cancelled: bool = False

    def cancel(self) -> None:
        """End the fault."""
        self.cancelled = True

    @property
    def exhausted(self) -> bool:
        """Whether it will not happen again."""
        return self.cancelled or (self.times is not None and self.fired >= self.times)


class FaultRules:
    """The waiting and the lasting faults of a broker."""

    def __init__(self) -> None:
        #: Whether new connections are frozen.
        self.frozen = False
        #: Seconds without a byte from the client after which a connection is closed; ``None``: never.
        self.idle_timeout: float | None = None
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Add *fault*."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def due(self, event: str) -> Fault | None:
        """Return the fault that applies to *event*, a command or `ACCEPT`."""
        if not self._faults:
            return None
        with self._lock:
            self._faults = [fault for fault in self._faults if not fault.exhausted]
            for fault in self._faults:
                if fault.on != event and (fault.on is not None or event == ACCEPT):
                    continue
                if fault.passed < fault.after:
                    fault.passed += 1
                    continue
                fault.fired += 1
                return fault
        return None

    def clear(self) -> None:
        """Cancel every fault."""
        with self._lock:
            for fault in self._faults:
                fault.cancel()
            self._faults.clear()
        self.frozen = False
        self.idle_timeout = None
