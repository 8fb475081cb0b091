"""Where received frames go: onto the queue of their kind, or held back until there is room.

`ReceivedFrames` owns the four queues, the MESSAGE frames that are held back, and the ack modes of the session's
subscriptions. The thread that drives the connection is the only one that puts frames in and holds them back; consumers
take frames from the queues in any thread. When a queue is called, no lock is held.
"""

from __future__ import annotations

import collections
import itertools
import typing

from ..errors import StompError
from ..protocol import Frame
from .queues import FrameQueue

__all__ = ["ReceivedFrames"]

_MOST_AT_ONCE = 1000  # frames that are taken in before bytes are written again


class ReceivedFrames:
    """The received frames of one client. *wake* is called when a full `message_queue` has room again."""

    def __init__(self, queue_size: int, message_queue: FrameQueue | None, wake: typing.Callable[[], object]) -> None:
        self.message_queue = FrameQueue(queue_size) if message_queue is None else message_queue
        self.message_queue.on_get = self._on_get
        self.connected_queue = FrameQueue(queue_size, drop_oldest=True)
        self.receipt_queue = FrameQueue(queue_size, drop_oldest=True)
        self.error_queue = FrameQueue(queue_size, drop_oldest=True)
        #: MESSAGE frames for which `message_queue` had no room.
        self.held: collections.deque[Frame] = collections.deque()
        #: The ack mode of each of the session's subscriptions, by its id.
        self.ack_modes: dict[str, str] = {}
        #: Whether DISCONNECT was said. Its receipt is all that counts then, however many messages stand before it.
        self.parting = False
        self._wake = wake

    def begin(self, connected_frame: Frame) -> None:
        """A session has begun."""
        self.parting = False
        self.ack_modes.clear()
        for frames in (self.message_queue, self.connected_queue, self.receipt_queue, self.error_queue):
            frames.begin()
        self.connected_queue.offer(connected_frame)

    def is_reading(self, awaiting: bool) -> bool:
        """Whether to read now, or to let the broker wait: not while the message queue is full.

        While a call is *awaiting* a receipt, as many messages again are taken in.
        """
        held = len(self.held)
        return not held or self.parting or (awaiting and held < self.message_queue.maxsize)

    def most(self, awaiting: bool) -> int:
        """How many frames may be read now."""
        if awaiting or self.parting:
            return _MOST_AT_ONCE
        # One more than fits into the queue: it is held back, and so the loop knows that there is no room.
        return min(max(self.message_queue.maxsize - self.message_queue.qsize(), 0) + 1, _MOST_AT_ONCE)

    def add_messages(self, frames: list[Frame]) -> None:
        """MESSAGE frames came: to the queue, or held back until there is room."""
        taken = 0 if self.held else self.message_queue.offer_many(frames)
        for frame in itertools.islice(frames, taken, None):
            if self.parting and self.ack_modes.get(frame.headers.get("subscription", "")) not in ("auto", None):
                continue  # there is no room, and the broker gives it to another client
            self.held.append(frame)

    def move_held(self) -> None:
        """Move frames that were held back to the queue, as far as there is room for them now."""
        while self.held and self.message_queue.offer(self.held[0]):
            self.held.popleft()

    def end(self, reason: StompError) -> None:
        """The session has ended."""
        for frames in (self.connected_queue, self.receipt_queue, self.error_queue):
            frames.end(reason)

    def end_messages(self, reason: StompError) -> None:
        """The session has ended, and no thread drives it any more. What was held back comes to the queue before that.

        The broker does not send those frames again.
        """
        held, self.held = self.held, collections.deque()
        self.message_queue.end(reason, held)

    def _on_get(self) -> None:
        if self.held:
            self._wake()
