"""A wakeup: other threads and signal handlers can end a thread's wait without taking a lock."""

from __future__ import annotations

import contextlib
import math
import select
import socket

__all__ = ["Wakeup"]


class Wakeup:
    """Ends the wait of one thread. The thread calls `wait`, or polls `fileno` itself.

    A wakeup between the first `fileno` (or `wait`) and `close` is kept: the next wait returns at once.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait for. After `wake`, it is readable."""
        if self._pair is None:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
        return self._pair[0].fileno()

    def wake(self) -> None:
        """End the current or the next wait. Any thread or signal handler may call this, because it takes no lock."""
        pair = self._pair
        if pair is not None:
            with contextlib.suppress(OSError):  # the socket is full of wakeups, or was just closed
                pair[1].send(b"\0")

    def drain(self) -> None:
        pair = self._pair
        if pair is not None:
            with contextlib.suppress(OSError):
                while pair[0].recv(4096):
                    pass

    def wait(self, seconds: float) -> None:
        """Wait for a wakeup, for *seconds* at most."""
        descriptor, seconds = self.fileno(), max(seconds, 0.0)
        if hasattr(select, "poll"):
            poll = select.poll()  # select() accepts no descriptor above 1023
            poll.register(descriptor, select.POLLIN)
            poll.poll(math.ceil(seconds * 1000))
        else:  # Windows
            select.select([descriptor], [], [], seconds)
        self.drain()

    def close(self) -> None:
        """Close the descriptors. The next `fileno` or `wait` opens them again."""
        pair, self._pair = self._pair, None
        for end in pair or ():
            end.close()
