"""Queues of received frames. `ReceivedFrames` holds a MESSAGE frame until `message_queue` has room.

The driving thread puts the frames on the queues. The module `driver` explains this thread. Any thread may take out
frames. A thread holds no lock of the client while it calls a method of a queue.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
import time
import typing

from .._internal.log import GuardedLogger
from .._internal.printable import short_repr
from ..errors import StompError
from ..protocol import Frame

__all__ = ["FrameQueue", "ReceivedFrames", "UnclaimedWarnings"]

_MOST_NAMED = 100  # subscriptions that are named in warnings
_MOST_AT_ONCE = 1000  # frames that are read before bytes are written again


class FrameQueue:
    """A queue of at most *maxsize* frames between the driving thread and the consumers.

    If *drop_oldest* is true, a new frame replaces the oldest frame of a full queue. Such a queue needs no consumer.
    """

    def __init__(self, maxsize: int, *, drop_oldest: bool = False) -> None:
        self.maxsize = maxsize
        #: The queue calls this function after a consumer took out a frame. The client then reads more frames.
        self.on_get: typing.Callable[[], object] | None = None
        self._drop_oldest = drop_oldest
        self._frames: collections.deque[Frame] = collections.deque(maxlen=maxsize if drop_oldest else None)
        self._not_empty = threading.Condition(threading.Lock())
        self._reason: BaseException | None = None

    def qsize(self) -> int:
        """Return the number of frames in the queue."""
        return len(self._frames)

    def empty(self) -> bool:
        """Return whether the queue is empty."""
        return not self._frames

    def full(self) -> bool:
        """Return whether the queue holds `maxsize` frames."""
        return len(self._frames) >= self.maxsize

    def offer(self, frame: Frame) -> bool:
        """Put *frame* on the queue without waiting. Return whether there was room. The driving thread calls `offer`."""
        return self.offer_many((frame,)) == 1

    def offer_many(self, frames: typing.Sequence[Frame]) -> int:
        """Put *frames* on the queue while there is room, without waiting. Return the number of added frames."""
        with self._not_empty:
            room = len(frames) if self._drop_oldest else max(self.maxsize - len(self._frames), 0)
            taken = frames if len(frames) <= room else frames[:room]
            self._frames.extend(taken)
            self._not_empty.notify(len(taken))
            return len(taken)

    def get(self, block: bool = True, timeout: float | None = None) -> Frame:
        """Take out and return the oldest frame. If the queue is empty and *block* is true, wait for a frame.

        *timeout* limits the wait, in seconds. If *timeout* is ``None``, the wait has no limit. Raises ``queue.Empty``
        if no frame comes in time. After ``end(reason)``, `get` on an empty queue raises *reason*.
        """
        try:
            frame = self._frames.popleft()  # atomic in Python; only threads that have to wait need the lock
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
                    # All threads raise this same exception, perhaps often: it must not collect their tracebacks.
                    raise self._reason.with_traceback(None)
                if not block:
                    raise queue.Empty
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    raise queue.Empty
                self._not_empty.wait(None if rest is None else min(rest, threading.TIMEOUT_MAX))

    def get_nowait(self) -> Frame:
        """Take out and return the oldest frame without waiting. Raises the exceptions of `get`."""
        return self.get(block=False)

    def end(self, reason: BaseException, last: typing.Iterable[Frame] = ()) -> None:
        """Add the frames in *last*, even to a full queue. From now on, `get` on an empty queue raises *reason*."""
        with self._not_empty:
            self._frames.extend(last)
            self._reason = reason
            self._not_empty.notify_all()

    def begin(self) -> None:
        """Forget the reason that `end` has set. From now on, `get` waits for frames again."""
        with self._not_empty:
            self._reason = None


class ReceivedFrames:
    """The received frames of one client. While `held` has frames, each `get` of `message_queue` calls *wake*."""

    def __init__(self, queue_size: int, message_queue: FrameQueue | None, wake: typing.Callable[[], object]) -> None:
        self.message_queue = FrameQueue(queue_size) if message_queue is None else message_queue
        self.message_queue.on_get = self._on_get
        self.connected_queue = FrameQueue(queue_size, drop_oldest=True)
        self.receipt_queue = FrameQueue(queue_size, drop_oldest=True)
        self.error_queue = FrameQueue(queue_size, drop_oldest=True)
        #: MESSAGE frames for which `message_queue` had no room.
        self.held: collections.deque[Frame] = collections.deque()
        #: The ack modes of the session's subscriptions, by subscription id.
        self.ack_modes: dict[str, str] = {}
        #: Whether the client has sent DISCONNECT. Then the client reads all frames until the receipt of DISCONNECT.
        self.parting = False
        self._wake = wake

    def begin(self, connected_frame: Frame) -> None:
        """Prepare the queues for a new session, and queue *connected_frame*."""
        self.parting = False
        self.ack_modes.clear()
        for frames in (self.message_queue, self.connected_queue, self.receipt_queue, self.error_queue):
            frames.begin()
        self.connected_queue.offer(connected_frame)

    def is_reading(self, awaiting: bool) -> bool:
        """Return whether the client may read now. *awaiting* means that a call waits for a receipt."""
        held = len(self.held)
        return not held or self.parting or (awaiting and held < self.message_queue.maxsize)

    def read_limit(self, awaiting: bool) -> int:
        """Return how many frames one read may return. *awaiting* means that a call waits for a receipt."""
        if awaiting or self.parting:
            return _MOST_AT_ONCE
        # One frame more than fits into the queue: that frame is held back, which tells the loop that there is no room.
        return min(max(self.message_queue.maxsize - self.message_queue.qsize(), 0) + 1, _MOST_AT_ONCE)

    def add_messages(self, frames: list[Frame]) -> None:
        """Put *frames*, which are MESSAGE frames, on `message_queue`. Add the frames that do not fit to `held`.

        After DISCONNECT, a frame that does not fit is dropped if its subscription has another ack mode than ``auto``.
        The broker delivers the message of a dropped frame again. All other frames that do not fit are kept in `held`.
        """
        taken = 0 if self.held else self.message_queue.offer_many(frames)
        for frame in itertools.islice(frames, taken, None):
            if self.parting and self.ack_modes.get(frame.headers.get("subscription", "")) not in ("auto", None):
                continue  # there is no room, and the broker delivers the message again
            self.held.append(frame)

    def move_held(self) -> None:
        """Move held frames to the queue while the queue has room."""
        while self.held and self.message_queue.offer(self.held[0]):
            self.held.popleft()

    def end(self, reason: StompError) -> None:
        """End all queues except `message_queue`, because the session has ended."""
        for frames in (self.connected_queue, self.receipt_queue, self.error_queue):
            frames.end(reason)

    def end_messages(self, reason: StompError) -> None:
        """Move all held frames to `message_queue`, and end `message_queue`.

        While this method runs, no other thread may drive the connection.
        """
        held, self.held = self.held, collections.deque()
        self.message_queue.end(reason, held)

    def _on_get(self) -> None:
        if self.held:
            self._wake()


class UnclaimedWarnings:
    """Logs one warning for each unknown subscription id of a message, but at most 100 warnings.

    For example, an answer from a temporary queue of RabbitMQ and a message after UNSUBSCRIBE have an unknown id.
    """

    def __init__(self, log: GuardedLogger) -> None:
        self._log = log
        self._named: set[str | None] = set()

    def warn(self, frame: Frame) -> None:
        """Log a warning that the client drops *frame*, but only once for each subscription id."""
        subscription = frame.headers.get("subscription")
        if len(self._named) >= _MOST_NAMED or subscription in self._named:
            return
        self._named.add(subscription)
        self._log.warning(
            "a message from %s has the subscription id %s, which this client does not know; it was dropped, and so are "
            "all later ones with that id",
            short_repr(frame.headers.get("destination")),
            short_repr(subscription),
        )
