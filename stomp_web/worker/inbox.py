"""The inbox holds received messages for the worker threads. The inbox also holds failed messages until their next try.

The inbox is the `message_queue` of the worker's client. While the inbox is full, the client reads nothing. When a
session ends, the inbox stays, but its unacknowledged messages are dropped. The broker delivers them again.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
import typing

from .._internal.log import get_logger
from ..client.queues import FrameQueue, UnclaimedWarnings
from ..protocol import Frame
from .delivery import CurrentSession, Delivery, Step
from .handlers import Handler

__all__ = ["Inbox"]

_log = get_logger("worker")


class Inbox(FrameQueue):
    """Holds received messages for the worker threads. *session* makes a `Delivery` for each message."""

    def __init__(self, handlers: typing.Iterable[Handler], maxsize: int, session: CurrentSession) -> None:
        super().__init__(maxsize)
        self._handlers = {handler.id: handler for handler in handlers}
        self._session = session
        self._later: list[tuple[float, int, Step, Delivery]] = []  # a heap, by the time of the step
        self._order = itertools.count()
        self._paused = self._closed = self._abandoned = False
        self.received = 0  # how many messages were received
        self._unclaimed = UnclaimedWarnings(_log)

    def offer_many(self, frames: typing.Sequence[Frame]) -> int:
        """Add *frames* until the inbox is full. Return how many of *frames* were added or dropped.

        Frames without a handler are dropped. After `close`, all frames are dropped.
        """
        for taken, frame in enumerate(frames):
            if frame.headers.get("subscription") not in self._handlers:
                self._unclaimed.warn(frame)
                continue
            with self._not_empty:
                if len(self._frames) >= self.maxsize:
                    return taken
                self.received += 1
                if not self._closed:
                    self._frames.append(frame)
                    self._not_empty.notify()
        return len(frames)

    def end(self, reason: BaseException, last: typing.Iterable[Frame] = ()) -> None:
        """Drop the unacknowledged messages of an ended session.

        *last* contains the frames that did not fit into the inbox. These frames count as received, but are dropped.
        """
        with self._not_empty:
            self.received += len(list(last))
            self._drop_unbegun()

    def take(self, seconds: float = math.inf) -> tuple[Step, Delivery] | None:
        """Return the next due `Step` and its delivery. Return ``None`` after *seconds*, or if `finished` is true."""
        end = time.monotonic() + seconds
        with self._not_empty:
            while True:
                now = time.monotonic()
                until = end
                if self._closed or not self._paused:
                    work = self._next(now)
                    if work is not None or self.finished:
                        return work
                    if self._later:
                        until = min(end, self._later[0][0])
                if end <= now:
                    return None
                self._not_empty.wait(None if until == math.inf else min(until - now, threading.TIMEOUT_MAX))

    @property
    def finished(self) -> bool:
        """Whether the inbox is closed and empty. An empty inbox has no received message and no planned step."""
        return self._closed and not self._later and not self._frames

    def _next(self, now: float) -> tuple[Step, Delivery] | None:
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2:]
        if not self._frames:
            return None
        frame = self._frames.popleft()
        if self.on_get is not None:
            self.on_get()
        return Step.HANDLE, self._session.new_delivery(frame, self._handlers[frame.headers["subscription"]])

    def later(self, seconds: float, step: Step, delivery: Delivery) -> None:
        """Plan *step* for *delivery*, *seconds* from now.

        After `close`, drop an unacknowledged *delivery*, because the broker will deliver the message again. Keep an
        acknowledged *delivery*, but ignore *seconds* if *step* is `Step.HANDLE`: this step is then due at once. After
        `abandon`, drop every *delivery*.
        """
        with self._not_empty:
            if self._abandoned or (self._closed and not delivery.acknowledged_first):
                return
            due = 0.0 if self._closed and step is Step.HANDLE else time.monotonic() + seconds
            heapq.heappush(self._later, (due, next(self._order), step, delivery))
            self._not_empty.notify()

    def pause(self) -> None:
        """Let `take` return no step until `close` is called.

        Any thread and any signal handler may call this method, because the method takes no lock.
        """
        self._paused = True

    def close(self) -> None:
        """Wake all waiting threads, and drop all unacknowledged messages. The broker will deliver these messages again.

        From now on, new messages are dropped, too.
        """
        with self._not_empty:
            self._closed = True
            self._drop_unbegun()

    def abandon(self) -> int:
        """Drop all present and future messages. Return how many acknowledged messages were in the inbox.

        The broker will not deliver these acknowledged messages again.
        """
        with self._not_empty:
            self._closed = self._abandoned = True
            self._drop_unbegun()
            lost = len(self._later)
            self._later = []
            return lost

    def _drop_unbegun(self) -> None:
        """Drop the unacknowledged messages. If the inbox is closed, make all planned calls of handlers due at once."""
        self._frames.clear()
        self._later = [
            (0.0 if self._closed and step is Step.HANDLE else due, order, step, delivery)
            for due, order, step, delivery in self._later
            if delivery.acknowledged_first
        ]
        heapq.heapify(self._later)
        self._not_empty.notify_all()
