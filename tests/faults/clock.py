"""What "in time" means: the deadline, a tenth of a second, and what the machine itself was late meanwhile.

A busy machine wakes everybody late, and a test that forgave a fixed second would forgive a library that is a second
late. So a thread that does nothing but wake up every few milliseconds measures how late that happens, and only that is
forgiven: all of it together, because a call may be late several times, too.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing

from tests.brokers.running import PATIENCE

__all__ = ["ALLOWED", "Stopwatch", "eventually", "in_time", "watch"]

#: Seconds by which a call may miss its deadline.
ALLOWED = 0.1

_BEAT = 0.005


class Stopwatch:
    """`seconds` that a block took, and `late`, how long a thread had to wait too long meanwhile, all in all."""

    seconds = 0.0
    late = 0.0


@contextlib.contextmanager
def watch() -> typing.Iterator[Stopwatch]:
    """Measure the block."""
    stopwatch = Stopwatch()
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            before = time.monotonic()
            over.wait(_BEAT)
            stopwatch.late += max(time.monotonic() - before - _BEAT, 0.0)

    thread = threading.Thread(target=beat, name="metronome", daemon=True)
    thread.start()
    began = time.monotonic()
    try:
        yield stopwatch
    finally:
        stopwatch.seconds = time.monotonic() - began
        over.set()
        thread.join()


@contextlib.contextmanager
def in_time(deadline: float, *, at_least: float = 0.0) -> typing.Iterator[Stopwatch]:
    """Fail unless the block ends within *deadline* seconds and a tenth, and takes *at_least* so many."""
    with watch() as stopwatch:
        yield stopwatch
    assert stopwatch.seconds <= deadline + ALLOWED + stopwatch.late, (
        f"it took {stopwatch.seconds:.3f} s, the deadline was {deadline} s, the machine was {stopwatch.late:.3f} s late"
    )
    assert stopwatch.seconds >= at_least, f"it took {stopwatch.seconds:.3f} s only; was the fault there?"


def eventually(condition: typing.Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Wait until *condition* holds, and return whether it did within *timeout* seconds."""
    end = time.monotonic() + timeout
    never = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        never.wait(0.005)
    return True
