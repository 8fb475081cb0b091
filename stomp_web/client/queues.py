"""The queues of received frames, from which a pool of workers can pull.

A `FrameQueue` is used as a ``queue.Queue``: `get`, `get_nowait`, `qsize`, `empty`. What it adds: when the connection
ends, whoever waits in `get` is woken with the reason, after the frames that are still there were taken.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
import typing

from ..protocol import Frame

__all__ = ["FrameQueue"]


class FrameQueue:
    """A bounded queue of frames between the listener loop and its consumers.

    *maxsize* is how many frames it holds. With *drop_oldest* a full queue loses its oldest frame to the new one: that
    is for frames that were answered already, such as receipts, and that nobody must fetch.
    """

    def __init__(self, maxsize: int, *, drop_oldest: bool = False) -> None:
        self.maxsize = maxsize
        #: Called after a frame was taken; its client's, to read on when there is room.
        self.on_get: typing.Callable[[], object] | None = None
        self._drop_oldest = drop_oldest
        self._frames: collections.deque[Frame] = collections.deque()
        self._not_empty = threading.Condition(threading.Lock())
        self._reason: BaseException | None = None

    def qsize(self) -> int:
        """How many frames wait here."""
        return len(self._frames)

    def empty(self) -> bool:
        """Whether no frame waits here."""
        return not self._frames

    def full(self) -> bool:
        """Whether `maxsize` frames wait here."""
        return len(self._frames) >= self.maxsize

    def offer(self, frame: Frame) -> bool:
        """Put *frame* in, and return whether there was room. For the listener loop; it never waits."""
        with self._not_empty:
            if len(self._frames) >= self.maxsize:
                if not self._drop_oldest:
                    return False
                self._frames.popleft()
            self._frames.append(frame)
            self._not_empty.notify()
            return True

    def offer_many(self, frames: typing.Sequence[Frame]) -> int:
        """Put in as many of *frames* as there is room for, and return how many that was. As `offer` otherwise."""
        with self._not_empty:
            room = max(self.maxsize - len(self._frames), 0)
            taken = frames if len(frames) <= room else frames[:room]
            self._frames.extend(taken)
            self._not_empty.notify(len(taken))
            return len(taken)

    def get(self, block: bool = True, timeout: float | None = None) -> Frame:
        """Take out the oldest frame, waiting for one for *timeout* seconds (``None``: until the connection ends).

        Raises ``queue.Empty`` if none came in time, or the reason for which the connection ended.
        """
        try:
            frame = self._frames.popleft()  # one step for Python; the lock is for those who have to wait
        except IndexError:
            frame = self._wait_for_frame(block, timeout)
        if self.on_get is not None:
            self.on_get()
        return frame

    def _wait_for_frame(self, block: bool, timeout: float | None) -> Frame:
        end = None if timeout is None else time.monotonic() + timeout
        with self._not_empty:
            while True:
                with contextlib.suppress(IndexError):
                    return self._frames.popleft()
                if self._reason is not None:
                    # The same exception for everybody, who may ask often: it must not collect their tracebacks.
                    raise self._reason.with_traceback(None)
                if not block:
                    raise queue.Empty
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    raise queue.Empty
                self._not_empty.wait(None if rest is None else min(rest, threading.TIMEOUT_MAX))

    def get_nowait(self) -> Frame:
        """Take out the oldest frame; raises ``queue.Empty`` if there is none."""
        return self.get(block=False)

    def end(self, reason: BaseException, last: typing.Iterable[Frame] = ()) -> None:
        """Wake everybody who waits: after the *last* frames, for which there is always room, no more will come."""
        with self._not_empty:
            self._frames.extend(last)
            self._reason = reason
            self._not_empty.notify_all()

    def begin(self) -> None:
        """Take frames again, after `end`."""
        with self._not_empty:
            self._reason = None
