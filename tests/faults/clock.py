"""What "in time" means: the deadline, a tenth of a second, and what the machine itself was late meanwhile.

A busy machine wakes each thread late, and a test that forgave a fixed second would forgive a library that is a second
late. So only measured delays are forgiven. A thread that wakes up every few milliseconds measures how late this
happens. Where the operating system counts it (Linux), the time is added for which threads of this process could have
run but had no core: a call may wait for a core while that other thread has one. The sum is forgiven, because a call may
be late several times.
"""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
import typing

from tests.brokers.running import PATIENCE

__all__ = ["ALLOWED", "Stopwatch", "eventually", "in_time", "watch"]

#: Seconds by which a call may miss its deadline.
ALLOWED = 0.1

_BEAT = 0.005

_TASKS = pathlib.Path("/proc/self/task")


class Stopwatch:
    """`seconds` that a block took, and `late`, for how many seconds threads had to wait for the machine meanwhile."""

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
    waited = _waited_for_a_core()
    began = time.monotonic()
    try:
        yield stopwatch
    finally:
        stopwatch.seconds = time.monotonic() - began
        stopwatch.late += sum(
            seconds - waited.get(task, 0.0)
            for task, seconds in _waited_for_a_core().items()
            if task != str(thread.native_id)
        )
        over.set()
        thread.join()


def _waited_for_a_core() -> dict[str, float]:
    """For how many seconds each thread of this process was ready to run without running, as far as Linux tells."""
    waited = {}
    for task in _TASKS.glob("*"):
        with contextlib.suppress(OSError):  # the thread has ended, or this kernel does not count
            waited[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return waited


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
