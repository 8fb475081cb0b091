"""A wakeup: other threads and signal handlers end the wait of a thread, without a lock."""

from __future__ import annotations

import contextlib
import math
import select
import socket

__all__ = ["Wakeup"]


class Wakeup:
    """Ends the wait of one thread, which waits in `wait`, or polls `fileno` itself.

    From the first `fileno` or `wait` until `close`, a wakeup that comes before the wait makes it return at once.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def fileno(self) -> int:
        """The descriptor to wait for. It can be read after `wake` was called."""
        if self._pair is None:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
        return self._pair[0].fileno()

    def wake(self) -> None:
        """End the wait, or the next one. Safe in any thread or signal handler, because it takes no lock."""
        pair = self._pair
        if pair is not None:
            with contextlib.suppress(OSError):  # it is full of wakeups, or was closed just now
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
            poll = select.poll()  # select() knows no descriptor above 1023
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
