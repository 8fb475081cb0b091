"""Faults, and the rules that select the fault for a frame or a new connection.

If several faults are due, only the fault that was added first applies.
"""

from __future__ import annotations

import dataclasses
import threading

from ..protocol import Frame

__all__ = ["ACCEPT", "NO_FAULT", "Fault", "FaultRules"]

#: The event of a fault that waits for a new connection instead of a frame.
ACCEPT = "accept"


@dataclasses.dataclass(eq=False)
class Fault:
    """One fault, made by `stomp_web.broker.Faults`. Tests read `fired` and call `cancel`."""

    on: str | None  #: The event: a command, `ACCEPT` for a new connection, or ``None`` for any frame.
    after: int = 0  #: How many events pass before the first fault.
    times: int | None = 1  #: How often the fault happens. ``None`` means at every later event.
    fired: int = 0  #: How often the fault has happened.
    passed: int = 0  #: How many events have passed without the fault.

    process: bool = True  #: Whether the frame takes effect.
    answer: bool = True  #: Whether the broker sends its own answers to the frame.
    before: bytes = b""  #: Bytes that are sent before the answers.
    instead: Frame | None = None  #: A frame that is sent instead of the broker's own answers.
    receipt_id: bool = True  #: Whether the frame `instead` gets the receipt id of the client's frame.
    after_answer: bytes = b""  #: Bytes that are sent after the answers.
    copies: int = 1  #: How often a RECEIPT is sent.
    late: bool = False  #: Whether a RECEIPT waits until another RECEIPT has been sent.
    delay: float = 0.0  #: Seconds by which the answers are delayed. Later frames to the client wait, too.
    freeze: bool = False  #: Whether the broker stops reading and writing until `Faults.thaw`.
    close: bool = False  #: Whether the connection is closed after the answers.
    abort: bool = False  #: Whether the connection is closed at once.
    reset: bool = False  #: Whether the connection is closed with a TCP reset.
    dribble: float | None = None  #: Seconds between two bytes, which are sent one by one. ``None`` means no limit.

    cancelled: bool = False

    def cancel(self) -> None:
        """Stop the fault from happening again. What it has already done stays."""
        self.cancelled = True

    @property
    def exhausted(self) -> bool:
        """Whether the fault was cancelled, or has happened as often as `times` allows."""
        return self.cancelled or (self.times is not None and self.fired >= self.times)


#: The value for an event without a fault.
NO_FAULT = Fault(None)


class FaultRules:
    """A broker's faults: faults that wait for an event, and two lasting faults, `frozen` and `idle_timeout`."""

    def __init__(self) -> None:
        #: Whether new connections are frozen.
        self.frozen = False
        #: A connection is closed if its client sends nothing for this many seconds. ``None`` means no limit.
        self.idle_timeout: float | None = None
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Add *fault*, and return it."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def due(self, event: str) -> Fault:
        """Return the fault for *event*, which is a command or `ACCEPT`. Return `NO_FAULT` if no fault applies."""
        if not self._faults:
            return NO_FAULT
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
        return NO_FAULT

    def active(self) -> list[Fault]:
        """Return the faults that are not over, in the order in which they apply."""
        with self._lock:
            return [fault for fault in self._faults if not fault.exhausted]

    def clear(self) -> None:
        """Cancel every fault."""
        with self._lock:
            for fault in self._faults:
                fault.cancel()
            self._faults.clear()
        self.frozen = False
        self.idle_timeout = None
