"""Forking for tests: a child that always ends, and tells what it found.

Rules of this room:

* A child ends with ``os._exit``: not a line of the tests' own endings runs twice. An alarm kills it if it hangs.
* What its function returns, or the traceback of what it raised, comes back through a pipe. No wait has no limit.
* From Python 3.12 on, ``fork`` warns in a process with several threads. These tests fork such processes on purpose,
  as preloading servers do, so exactly this warning is ignored, exactly here. That stomp-web itself starts no thread,
  and so gives nobody this warning, is tested in `test_quiet`.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 150
"""Seconds that a child has."""


class Child:
    """A forked process, from the view of the one that forked it."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe
        self._heard = b""

    def report(self) -> Any:
        """What the child's function returned. The child may live on, in `Gate.wait`."""
        deadline = time.monotonic() + LIMIT
        while not self._heard.endswith(b"END"):
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._pipe, 65_536) if ready else b""
            if not data:
                raise AssertionError(f"the child {self.pid} {'hangs' if not ready else 'ended without a report'}")
            self._heard += data
        good, value = pickle.loads(self._heard[:-3])
        if not good:
            raise AssertionError(f"in the child {self.pid}:\n{value}")
        return value

    def join(self) -> None:
        """Wait for its end, which its alarm brings about if nothing else does."""
        os.waitpid(self.pid, 0)
        os.close(self._pipe)


class Gate:
    """Closed until `open`: children that have reported can wait here, and are all alive at one moment."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._owner = os.getpid()

    def wait(self) -> None:
        if self._owner == os.getpid():
            raise AssertionError("only children wait")
        os.close(self._writer)
        os.read(self._reader, 1)  # returns when the last writing end is closed

    def open(self) -> None:
        os.close(self._writer)
        os.close(self._reader)


def forked(function: Callable[[], Any], gate: Gate | None = None) -> Child:
    """Fork. The child calls *function*, reports what came of it, waits at the *gate*, and ends."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, reader)
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT)
        os.close(reader)
        try:
            result = pickle.dumps((True, function()))
        except BaseException:  # noqa: BLE001 - it is reported
            result = pickle.dumps((False, traceback.format_exc()))
        os.write(writer, result + b"END")
        if gate is not None:
            gate.wait()
    finally:
        os._exit(0)


def in_a_child(function: Callable[[], Any]) -> Any:
    """What *function* returns in a child that has ended."""
    child = forked(function)
    try:
        return child.report()
    finally:
        child.join()
