"""The turn is the right to be the only relay of a database. Relays need a turn if the database cannot lock rows.

The turn is a lock on a file. If the process ends, the operating system releases the lock.
"""

from __future__ import annotations

import contextlib
import os
import threading

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileTurn", "database_file"]

# The process id is in the key, so that a forked child does not have its parent's turn, and does not wait for it.
_held: dict[tuple[int, str], threading.Lock] = {}


class FileTurn:
    """The turn of a relay: the right to be the only relay of a database.

    While a thread has the turn, no other thread of the process can acquire it. Except on Windows, no other process can
    acquire it either.

    *path* is the path of the database's file. The lock is on the separate file ``PATH-stomp-relay``, because SQLite
    locks the file of the database. If *path* is ``None``, the database is in the memory of this process, and no file is
    locked.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else f"{os.path.realpath(path)}-stomp-relay"
        self._own = threading.Lock()  # for a database in memory
        self._descriptor: int | None = None

    @property
    def _among_threads(self) -> threading.Lock:
        return self._own if self._path is None else _held.setdefault((os.getpid(), self._path), threading.Lock())

    def acquire(self) -> bool:
        """Try to acquire the turn. Return whether this succeeded."""
        if not self._among_threads.acquire(blocking=False):
            return False
        if self._path is not None and fcntl is not None:
            descriptor = None
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException as error:
                if descriptor is not None:
                    os.close(descriptor)
                self._among_threads.release()
                if isinstance(error, BlockingIOError):
                    return False
                raise
            self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the turn."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                # Closing is not enough: a child that was forked meanwhile shares the open file and its lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        self._among_threads.release()


def database_file(name: str) -> str | None:
    """Return the path of the SQLite database *name*, or ``None`` for a database in memory. *name* may be a URI."""
    path, _, query = name.removeprefix("file:").partition("?") if name.startswith("file:") else (name, "", "")
    return None if path in {"", ":memory:"} or "mode=memory" in query else path
