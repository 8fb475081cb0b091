"""The processes that the command starts: how they are asked, and how they end.

Each is asked by a line and answers with one, as JSON. Each is in a session of its own, so that Ctrl-C reaches the
command alone, which then ends them; and each ends by itself when its standard input does, so that none is left behind
even if the command is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import typing
from pathlib import Path

from benchmarks.case import Case
from benchmarks.outcome import Outcome

ROOT = Path(__file__).parent.parent
LONGEST_RUN = 60.0  # seconds
# A fresh heap gives each large block back to the system and takes it again, page by page, until it has settled. Whether
# it has is luck, and would decide about rows by a factor of ten. So everybody gets a heap that keeps what it has had
# (glibc).
SETTLED_HEAP = {"MALLOC_TOP_PAD_": str(256 * 1024 * 1024)}


class ChildFailed(Exception):
    """A process has ended, or did not do what it was asked for."""


class TooSlow(ChildFailed):
    """It gave no answer in time, and was killed."""


class CannotDo(ChildFailed):
    """This contender does not have that task."""


class Child:
    """A Python program of this package in a process of its own, at the other end of two pipes."""

    def __init__(self, *arguments: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._line = b""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **SETTLED_HEAP, "PYTHONPATH": path},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, question: str, limit: float = LONGEST_RUN) -> dict[str, typing.Any]:
        """Send a line and return the answer. Raises `ChildFailed`; after *limit* seconds the process is killed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self.hear(limit)

    def hear(self, limit: float = LONGEST_RUN) -> dict[str, typing.Any]:
        """Return the next line that the process writes. Raises as `ask` does."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        end = time.monotonic() + limit
        while b"\n" not in self._line:
            if not poll.poll(max(end - time.monotonic(), 0) * 1000):
                self.close()
                raise TooSlow(f"took longer than {limit:g} s")
            data = os.read(descriptor, 65536)
            if not data:
                raise self._ended()
            self._line += data
        line, _, self._line = self._line.partition(b"\n")
        return typing.cast("dict[str, typing.Any]", json.loads(line))

    def _ended(self) -> ChildFailed:
        self._process.wait(10)
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return ChildFailed(f"its process has ended: {words[-1] if words else 'it said nothing'}")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Kill the process, and wait for its end. May be called again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]


class Sink(Child):
    """The sink's process (`benchmarks.sink`) and its two ports."""

    def __init__(self) -> None:
        super().__init__("benchmarks.sink")
        try:
            ports = self.hear(20)
        except BaseException:
            self.close()
            raise
        self.counting: int = ports["counting"]
        self.answering: int = ports["answering"]

    def reset(self) -> None:
        """Begin to count anew."""
        self.ask("reset", 20)

    def taken(self) -> dict[str, int]:
        """What it has counted: ``sends``, ``acks``, ``messages`` (those it sent), ``strange`` (unknown frames)."""
        return self.ask("taken", 20)


class ContenderProcess(Child):
    """A contender's process (`benchmarks.contender`), which may be asked to run a case."""

    def __init__(self, name: str) -> None:
        super().__init__("benchmarks.contender", name)
        self._ready = False

    def run(self, case: Case, count: int, limit: float = LONGEST_RUN) -> Outcome:
        """Run *case* *count* times. Raises `ChildFailed`."""
        if not self._ready:
            self.hear(20)
            self._ready = True
        answer = self.ask(json.dumps({"case": dataclasses.asdict(case), "count": count}), limit)
        if "cannot" in answer:
            raise CannotDo(answer["cannot"])
        if "error" in answer:
            raise ChildFailed(answer["error"])
        return Outcome(**answer)
