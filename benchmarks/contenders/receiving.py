"""What every contender that receives has in common: the word to go, and the end."""

from __future__ import annotations

import socket
import threading
import time
import types
from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.frames import GO, connect_frame
from benchmarks.outcome import Outcome

#: Seconds within which all messages must have come.
LIMIT = 50.0


class Starter:
    """A connection by which the sink is told to send what the subscriber waits for. The clock runs from there."""

    def __init__(self, case: Case) -> None:
        self._socket = socket.create_connection((case.host, case.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(connect_frame())
        self._socket.recv(65536)

    def go(self) -> float:
        """Let the messages come, and return the time at which that was said."""
        began = time.perf_counter()
        self._socket.sendall(f"SEND\ndestination:{GO}\n\n\0".encode())
        return began

    @staticmethod
    def outcome(began: float, came: int, ended: float | None = None) -> Outcome:
        """The outcome of a run in which *came* messages came until *ended*, or now."""
        seconds = (time.perf_counter() if ended is None else ended) - began
        return Outcome(seconds, seconds, came, sent=1, received=came)

    def __enter__(self) -> Starter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self._socket.close()


class Counter:
    """Counts messages, from any thread, and notes the time of the last of *count*; then it calls *ended*."""

    def __init__(self, count: int, ended: Callable[[], object] | None = None) -> None:
        self.came = 0
        self.at = 0.0
        self._count = count
        self._ended = ended
        self._lock = threading.Lock()
        self._done = threading.Event()

    def take(self) -> None:
        """One has come."""
        with self._lock:
            self.came += 1
            if self.came != self._count:
                return
            self.at = time.perf_counter()
        self._done.set()
        if self._ended is not None:
            self._ended()

    def wait(self) -> float:
        """Wait for the last one, and return when that was. Raises `TimeoutError`."""
        if not self._done.wait(LIMIT):
            raise TimeoutError(f"{self.came} of {self._count} messages came in {LIMIT:g} s")
        return self.at
