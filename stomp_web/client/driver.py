"""The class `Driver` decides which thread drives a connection, and lets the other threads wait.

To drive means to read from the socket and to write to the socket. Only the driving thread does so. While
`listen_forever` runs, its thread drives. At other times, a thread drives until its own call is done. `Driver.lock`
guards the session, the exchanges and the right to drive. A thread that holds the lock does no I/O and calls no code of
the application.
"""

from __future__ import annotations

import contextlib
import threading
import typing

from .._internal.wakeup import Wakeup
from ..connection.deadline import Deadline
from ..errors import BrokerUnavailable, StompError

__all__ = ["BusyError", "Driver"]


class BusyError(BrokerUnavailable):
    """Another thread drives the connection, and did not stop driving in time."""


class Driver:
    """Decides which thread drives a connection. The function *ended* returns whether the session has ended.

    The driving thread calls the function *leave* when the thread stops driving. *leave* must call `release`.
    """

    def __init__(self, leave: typing.Callable[[], object], ended: typing.Callable[[], bool]) -> None:
        self.lock = threading.Lock()
        #: A thread that holds the lock notifies this condition when a waiting thread should look again.
        self.changed = threading.Condition(self.lock)
        #: The event is set while `listen_forever` runs.
        self.listening_event = threading.Event()
        self.wakeup = Wakeup()
        self._thread: int | None = None  # the thread that drives
        self._waiting = 0  # how many threads wait for the driving thread or for the right to drive
        self._leave = leave
        self._ended = ended

    @property
    def is_this_thread(self) -> bool:
        """Whether the calling thread drives the connection."""
        return self._thread == threading.get_ident()

    @property
    def is_another_thread(self) -> bool:
        """Whether another thread drives the connection."""
        return self._thread not in (None, threading.get_ident())

    @property
    def is_loop_elsewhere(self) -> bool:
        """Whether `listen_forever` runs in another thread."""
        return self.listening_event.is_set() and self.is_another_thread

    @contextlib.contextmanager
    def driving(self, deadline: Deadline, broker: str) -> typing.Iterator[None]:
        """Drive the connection to *broker* during a ``with`` block.

        If another thread drives the connection, first wait until the other thread stops driving. Raises `BusyError` if
        the wait takes too long. Raises `StompError` if `listen_forever` runs in another thread.
        """
        nested = self.is_this_thread
        try:
            with self.lock:
                while self.is_another_thread:
                    if self.listening_event.is_set():
                        raise StompError("listen_forever is running in another thread; it drives this connection")
                    if not self._wait(deadline):
                        raise BusyError(
                            f"another thread's call is still busy after {deadline.seconds:.3g} s", broker=broker
                        )
                self._thread = threading.get_ident()
            yield
        finally:
            if not nested and self.is_this_thread:
                self._leave()

    def await_done(
        self,
        done: typing.Callable[[], bool],
        deadline: Deadline,
        drive: typing.Callable[[typing.Callable[[], bool], Deadline], object],
    ) -> None:
        """Wait until *done* returns true or *deadline* expires.

        Meanwhile, if no other thread drives the connection, this method calls ``drive(done, deadline)`` without holding
        `lock`. This method also calls *done* itself, and holds `lock` during that call.
        """
        nested = self.is_this_thread
        while True:
            try:
                with self.lock:
                    while not done() and self.is_another_thread:
                        if not self._wait(deadline):
                            return
                    if done():
                        return
                    self._thread = threading.get_ident()
                with contextlib.suppress(StompError):  # the caller gets the error from its exchange
                    drive(done, deadline)
            finally:
                if not nested and self.is_this_thread:
                    self._leave()
            if deadline.expired:
                return

    def _wait(self, deadline: Deadline) -> bool:
        """Wait until another thread notifies the condition `changed`. The caller holds the lock.

        Return ``False`` if *deadline* expires first. Otherwise, return ``True``.
        """
        self._waiting += 1
        try:
            return self.changed.wait(deadline.remaining())
        finally:
            self._waiting -= 1

    def drive_if_idle(self) -> bool:
        """Begin to drive the connection if it is idle. Return whether this call has begun to drive.

        The connection is idle if no thread drives it, and no thread waits for the driving thread or for the right to
        drive.
        """
        with self.lock:
            if self._thread is not None or self._waiting:
                return False
            self._thread = threading.get_ident()
            return True

    def release(self) -> None:
        """Stop driving the connection, and wake the threads that wait. Close `wakeup` if the session has ended."""
        with self.lock:
            self._thread = None
            self.changed.notify_all()
        self.close_wakeup()

    def wake(self) -> None:
        """End the driving thread's wait for the socket. Do nothing if the driving thread itself calls this method."""
        if not self.is_this_thread:
            self.wakeup.wake()

    def close_wakeup(self) -> None:
        """Close `wakeup` if the session has ended and no thread drives the connection."""
        with self.lock:
            if self._thread is None and self._ended():
                self.wakeup.close()
