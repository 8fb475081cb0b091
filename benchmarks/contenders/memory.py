"""What open connections that do nothing cost: memory, by tracemalloc, and threads."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import types
from collections.abc import Callable

from benchmarks.contender import Run
from benchmarks.outcome import Outcome


class Traced:
    """Traces the memory of sets that are opened inside the block, and says what one costs.

    The first one is not counted: with it come modules, caches and the like, which there is one of.
    """

    def __init__(self) -> None:
        self._sets = -1
        self._threads = self._bytes = 0
        self._began = 0.0

    def one_more(self) -> None:
        """One more set is open."""
        self._sets += 1
        if not self._sets:
            gc.collect()
            self._threads = threading.active_count()
            self._began = time.perf_counter()
            tracemalloc.start()

    def outcome(self) -> Outcome:
        """The cost of one set, in ``bytes`` and ``threads``."""
        return Outcome(
            self._seconds,
            self._seconds,
            self._sets,
            numbers={"bytes": self._bytes / self._sets, "threads": self._threads / self._sets},
        )

    def __enter__(self) -> Traced:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        gc.collect()
        self._bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self._threads = threading.active_count() - self._threads
        self._seconds = time.perf_counter() - self._began


def idle_run(open_some: Callable[[], object], close: Callable[[object], object] | None = None) -> Run:
    """Open so many sets of connections with *open_some*, and one more; say what one costs; *close* them."""

    def run(count: int) -> Outcome:
        kept = []
        with Traced() as traced:
            for _ in range(count + 1):
                kept.append(open_some())
                traced.one_more()
        for some in kept:
            if close is not None:
                close(some)
        return traced.outcome()

    return run
