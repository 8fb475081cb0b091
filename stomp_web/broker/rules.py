"""Faults, and the rules that select the fault for a frame.

A fault waits for a frame or for a new connection. If several faults are due, only the fault added first applies.
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

    on: str | None  #: The command of the frame, `ACCEPT` for a new connection, ``None`` for any frame.
    after: int = 0  #: How many such events pass before the fault happens.
    times: int | None = 1  #: How often the fault happens. With ``None``, it happens at every later event.
    fired: int = 0  #: How often the fault has happened.
    passed: int = 0  #: How many events have passed without the fault.

    process: bool = True  #: The frame takes effect.
    answer: bool = True  #: The broker's own answers to the frame are sent.
    before: bytes = b""  #: Sent before the answers.
    instead: Frame | None = None  #: Sent instead of the broker's own answers.
    receipt_id: bool = True  #: The frame `instead` gets the receipt id that the client asked for.
    after_answer: bytes = b""  #: Sent after the answers.
    copies: int = 1  #: How often a RECEIPT is sent.
    late: bool = False  #: A RECEIPT is kept back until another RECEIPT has been sent.
    delay: float = 0.0  #: Seconds by which the answers are delayed. Later frames of the connection wait for them.
    freeze: bool = False  #: The connection is neither read nor written from then on, until `Faults.thaw`.
    close: bool = False  #: The connection is closed after the answers were sent.
    abort: bool = False  #: The connection is closed at once.
    reset: bool = False  #: The connection is closed with a TCP reset.
    dribble: float | None = None  #: Every byte is sent alone, with this many seconds between two bytes.

    cancelled: bool = False

    def cancel(self) -> None:
        """End the fault."""
        self.cancelled = True

    @property
    def exhausted(self) -> bool:
        """Whether the fault is over."""
        return self.cancelled or (self.times is not None and self.fired >= self.times)


#: The value for a frame or a new connection to which no fault applies.
NO_FAULT = Fault(None)


class FaultRules:
    """The faults of a broker. Some wait for an event; `frozen` and `idle_timeout` last until they are ended."""

    def __init__(self) -> None:
        #: Whether new connections are frozen.
        self.frozen = False
        #: A connection is closed if its client sends nothing for this many seconds. ``None`` means no limit.
        self.idle_timeout: float | None = None
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Add *fault*."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def due(self, event: str) -> Fault:
        """Return the fault for *event*, which is a command or `ACCEPT`, or return `NO_FAULT` if no fault applies."""
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
