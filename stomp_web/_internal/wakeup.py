"""`Wakeup`, by which a thread or a signal handler can wake a waiting thread, without a lock."""

from __future__ import annotations

import contextlib
import math
import select
import socket

__all__ = ["Wakeup"]


class Wakeup:
    """An object that ends the wait of one thread. The thread calls `wait`, or polls `fileno`.

    A `wake` before the first `fileno` or `wait` has no effect. Any later `wake` ends the current or the next wait.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait for. The descriptor is readable after `wake`."""
        if self._pair is None:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
        return self._pair[0].fileno()

    def wake(self) -> None:
        """End the current or the next wait. This method takes no lock, so any thread or signal handler may call it."""
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
        """Wait until `wake` is called, but at most *seconds* seconds."""
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
