"""One run of the command: its settings, its processes, and what went wrong."""

from __future__ import annotations

import os
import sys
import time
import types
import typing

from benchmarks.children import ChildFailed, ContenderProcess, Sink
from benchmarks.facts import version_of
from benchmarks.outcome import Outcome
from benchmarks.settings import Settings


class Lost(ChildFailed):
    """What a contender says it has sent or received is not what was counted at the other end."""


class Counter(typing.Protocol):
    """Who counts at the other end: the sink, or a look into a broker's queue."""

    def reset(self) -> None:
        """Begin to count anew."""

    def compare(self, outcome: Outcome) -> None:
        """Raise `Lost` if *outcome* is not what was counted since `reset`."""


class SinkCount:
    """The sink counts."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def reset(self) -> None:
        self._sink.reset()

    def compare(self, outcome: Outcome) -> None:
        taken = self._sink.taken()
        for what, said, counted in (
            ("sent", outcome.sent, taken["sends"]),
            ("received", outcome.received, taken["messages"]),
            ("acknowledged", outcome.acknowledged, taken["acks"]),
            ("sent strange frames", 0, taken["strange"]),
        ):
            if said != counted:
                raise Lost(f"LOST: it says that it has {what} {said}, and the sink has counted {counted}")


class Bench:
    """Owns every process of the run, and ends them. *problems* are those for which the command exits with 1."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problems: list[str] = []
        self.skipped: dict[str, str] = {}  # who, and why
        self._contenders: dict[str, ContenderProcess] = {}
        self._began = time.monotonic()
        self._line = 0
        self.sink = Sink()
        self._cpus = os.sched_getaffinity(0)
        if self._pinned:
            os.sched_setaffinity(self.sink.pid, {max(self._cpus)})
        self.count: Counter = SinkCount(self.sink)

    # -- who takes part ---------------------------------------------------------------------------------------

    def has(self, who: str, distribution: str | None) -> bool:
        """Whether *who* can take part: whether the *distribution* that it needs is installed."""
        if distribution is None:
            return True
        if version_of(distribution) is None:
            self.skipped[who] = f"{distribution} is not installed"
            return False
        return True

    def contender(self, name: str) -> ContenderProcess:
        """The process of the contender *name* (``module:Class``): it is started at its first use, or after its end."""
        process = self._contenders.get(name)
        if process is None or not process.running:
            process = self._contenders[name] = ContenderProcess(name)
            if self._pinned:
                os.sched_setaffinity(process.pid, self._cpus - {max(self._cpus)})
        return process

    @property
    def _pinned(self) -> bool:
        return self.settings.pin and len(self._cpus) > 1

    def dismiss(self) -> None:
        """End all contenders: what comes next begins with fresh ones."""
        for process in self._contenders.values():
            process.close()
        self._contenders.clear()

    # -- what is told meanwhile -------------------------------------------------------------------------------

    def progress(self, words: str) -> None:
        """Say what is going on, in one line that is written over, on a terminal only."""
        if sys.stderr.isatty():
            text = f"{time.monotonic() - self._began:4.0f} s  {words}"[:110]
            print("\r" + text.ljust(self._line), end="", file=sys.stderr, flush=True)
            self._line = len(text)

    def problem(self, words: str) -> None:
        """Note what makes the run fail."""
        self.problems.append(words)

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self.dismiss()
        self.sink.close()
        if self._line:
            print("\r" + " " * self._line + "\r", end="", file=sys.stderr, flush=True)
