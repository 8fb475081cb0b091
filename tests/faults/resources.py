"""What a process holds: open descriptors, threads, memory. After a fault it must hold what it held before."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import sys
import threading
import time
import tracemalloc
import typing
from pathlib import Path

from tests.faults.clock import eventually

__all__ = ["Resources", "holding", "memory", "tracing", "unchanged"]

# Frames of the stack that are kept of an allocation: enough to see whose it is, and each of them takes time.
_DEPTH = 16


@dataclasses.dataclass(frozen=True)
class Resources:
    """What the process holds now: `descriptors` and `threads` by name."""

    descriptors: tuple[str, ...]
    threads: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.descriptors), len(self.threads)


def holding() -> Resources:
    """Count, after everything that nobody refers to is gone, and what was about to end has ended."""
    end = time.monotonic() + 5.0
    found, before = _holding(), None
    while (before is None or found.counts != before.counts) and time.monotonic() < end:
        time.sleep(0.05)
        found, before = _holding(), found
    return found


def _holding() -> Resources:
    gc.collect()
    descriptors = []
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that listed them is closed by now
            descriptors.append(str(descriptor.readlink()))
    return Resources(tuple(sorted(descriptors)), tuple(sorted(thread.name for thread in threading.enumerate())))


def unchanged(before: Resources) -> None:
    """Fail unless the process soon holds as many descriptors and threads as *before*."""
    assert eventually(lambda: holding().counts == before.counts), (
        f"left open: {_more(holding().descriptors, before.descriptors)}; "
        f"closed: {_more(before.descriptors, holding().descriptors)}; "
        f"threads left: {_more(holding().threads, before.threads)}"
    )


@contextlib.contextmanager
def tracing() -> typing.Iterator[None]:
    """Count, from here on, what `memory` tells."""
    tracemalloc.start(_DEPTH)
    try:
        yield
    finally:
        tracemalloc.stop()


def memory() -> int:
    """Bytes that `stomp_web` has taken and not given back: all that was allocated below it, but not by its broker.

    (The development broker keeps what it has seen, on purpose.) What is cached within limits does not count.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("stomp_web."):
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces(
        [
            tracemalloc.Filter(True, "*/stomp_web/*", all_frames=True),
            tracemalloc.Filter(False, "*/stomp_web/broker/*", all_frames=True),
        ]
    )
    return sum(trace.size for trace in snapshot.traces)


def _more(these: tuple[str, ...], those: tuple[str, ...]) -> list[str]:
    return list((collections.Counter(these) - collections.Counter(those)).elements())
