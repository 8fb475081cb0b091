"""A wakeup: ends the wait of a thread at its sockets, from another thread or from a signal handler.

A byte in a pair of sockets needs no lock, so that a signal handler may write it in the middle of anything. The thread
that waits owns the pair: it opens, drains and closes it, and others only write.
"""

from __future__ import annotations

import contextlib
import socket

__all__ = ["Wakeup"]


class Wakeup:
    """A pair of sockets, open from the first `fileno` to `close`."""

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def fileno(self) -> int:
        """The descriptor to wait at. It can be read after `wake` was called."""
        if self._pair is None:
            self._pair = reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
        return self._pair[0].fileno()

    def wake(self) -> None:
        """End the wait, or the next one if no thread waits. Does nothing while the pair is closed."""
        pair = self._pair
        if pair is not None:
            with contextlib.suppress(OSError):  # it is full of wakeups, or was closed just now
                pair[1].send(b"\0")

    def drain(self) -> None:
        """Forget the wakeups that have come."""
        if self._pair is not None:
            with contextlib.suppress(BlockingIOError):
                while self._pair[0].recv(4096):
                    pass

    def close(self) -> None:
        """Close the pair."""
        pair, self._pair = self._pair, None
        for each in pair or ():
            each.close()
