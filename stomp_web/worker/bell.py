"""A bell that a thread sleeps by: rung by other threads, and by signal handlers.

A signal handler may come in the middle of anything, so it must not take a lock that the interrupted code may hold. A
byte in a pair of sockets needs none.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import types
import typing

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = ["Bell"]


class Bell:
    """`wait` until somebody has called `ring`."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def ring(self) -> None:
        """Wake the one who waits, or let his next `wait` return at once. From any thread or signal handler."""
        with contextlib.suppress(OSError):  # enough is written there already, or nobody waits any more
            self._writer.send(b"\0")

    def wait(self, seconds: float) -> None:
        """Wait until it rings, for *seconds* at the most."""
        if self._rings(max(seconds, 0.0)):
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass

    def _rings(self, seconds: float) -> bool:
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([self._reader], [], [], seconds)[0])
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self._reader.close()
        self._writer.close()
