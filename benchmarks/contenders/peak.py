"""How much memory one send of a large body takes beside that body, at its worst moment."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.contender import Run
from benchmarks.outcome import Outcome


def peak_run(call: Callable[[], object], case: Case, finish: Callable[[], int]) -> Run:
    """Trace *call*, which sends a body of the case's size that exists already; in units of that size."""

    def run(count: int) -> Outcome:
        call()
        sent = 1 + finish()
        peaks = []
        for _ in range(count):
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                call()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            peaks.append((peak - before) / case.size)
            sent += 1 + finish()
        return Outcome(1.0, 1.0, count, sent=sent, numbers={"bodies": sorted(peaks)[len(peaks) // 2]})

    return run
