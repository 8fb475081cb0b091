"""The inbox: messages that have come and wait for a hand, and those that wait for their next try.

It is the `message_queue` of the worker's client, so the reader's loop puts frames in, and reads no further while it is
full. It outlives sessions. When one ends, what was not begun is dropped, because the broker gives it out again; only
messages that were acknowledged already, and are nowhere but here, stay.
"""

from __future__ import annotations

import dataclasses
import enum
import heapq
import itertools
import time
import typing

from .._internal.log import get_logger
from ..client.queues import FrameQueue
from ..client.unclaimed import UnclaimedWarnings
from ..protocol import Frame
from .handlers import Handler

__all__ = ["Delivery", "Inbox", "Step"]

_log = get_logger("worker")


class Step(enum.Enum):
    """What is to be done with a message next."""

    #: Call the handler.
    HANDLE = "handle"
    #: Return it to its queue.
    GIVE_BACK = "give back"
    #: Send it to the dead letter destination.
    BURY = "bury"


@dataclasses.dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through the worker.

    * `session` - the number of the session in which it came.
    * `key` - the subscription and the id by which another delivery of the same message is known; ``None`` if there is
      nothing to know it by.
    * `taken` - it was acknowledged before it was handled (``auto``), so that it is nowhere but here.
    * `failures` - how often its handling has failed.
    * `tries` - how often it was tried to bury it; `lost` - how often the connection ended then; `refused` - the broker
      has refused it as a dead letter, or seems to.
    * `done` - nothing more is to be done; its acknowledgement may wait for those of earlier messages.
    """

    frame: Frame
    handler: Handler
    session: int = 0
    key: tuple[str, str] | None = None
    taken: bool = False
    redelivered: bool = False
    failures: int = 0
    tries: int = 0
    lost: int = 0
    refused: bool = False
    error: str = ""
    done: bool = False


class Inbox(FrameQueue):
    """Messages between the reader's loop and the hands. *handlers* are found by the id of their subscription."""

    def __init__(self, handlers: typing.Iterable[Handler], maxsize: int) -> None:
        super().__init__(maxsize)
        self._handlers = {handler.id: handler for handler in handlers}
        self._later: list[tuple[float, int, Step, Delivery]] = []
        self._order = itertools.count()
        self._closed = self._abandoned = False
        #: Set, without a lock, by whoever will call `close` soon: nothing is given out until then.
        self.closing = False
        #: Called with each delivery that is taken for the first time, in the order in which the messages came.
        self.on_take: typing.Callable[[Delivery], object] | None = None
        self.received = 0
        self._unclaimed = UnclaimedWarnings(_log)

    # -- the reader's side ------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> bool:
        """Put *frame* in, and return whether there was room. For the reader's loop; it never waits."""
        if frame.headers.get("subscription") not in self._handlers:
            self._unclaimed.warn(frame)
            return True
        with self._not_empty:
            if len(self._frames) >= self.maxsize:
                return False
            self.received += 1
            if not self._closed:
                self._frames.append(frame)
                self._not_empty.notify()
            return True

    def offer_many(self, frames: typing.Sequence[Frame]) -> int:
        """Put in as many of *frames* as there is room for, and return how many that was."""
        for taken, frame in enumerate(frames):
            if not self.offer(frame):
                return taken
        return len(frames)

    def begin(self) -> None:
        """A session has begun."""

    def end(self, reason: BaseException, last: typing.Iterable[Frame] = ()) -> None:
        """The session has ended; *last* are frames for which there was no room."""
        with self._not_empty:
            self.received += len(list(last))
            self._drop_unbegun()

    # -- the hands' side --------------------------------------------------------------------------------------

    def take(self, seconds: float | None = None) -> tuple[Step, Delivery] | None:
        """Return the next thing to do, waiting for it for *seconds* (``None``: however long).

        ``None`` when there was nothing in that time; also when the inbox was closed: see `finished`.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._not_empty:
            while True:
                now = time.monotonic()
                if not self.closing or self._closed:
                    work = self._next(now)
                    if work is not None:
                        return work
                    if self.finished:
                        return None
                waits = [self._later[0][0] - now] if self._later and not (self.closing and not self._closed) else []
                if end is not None:
                    if end <= now:
                        return None
                    waits.append(end - now)
                self._not_empty.wait(min(waits, default=None))

    @property
    def finished(self) -> bool:
        """Whether the inbox was closed, and there is nothing more to do."""
        return self._closed and not self._later and not self._frames

    def _next(self, now: float) -> tuple[Step, Delivery] | None:
        if self._later and self._later[0][0] <= now:
            _, _, step, delivery = heapq.heappop(self._later)
            return step, delivery
        if not self._frames:
            return None
        frame = self._frames.popleft()
        delivery = Delivery(frame, self._handlers[frame.headers["subscription"]])
        if self.on_get is not None:
            self.on_get()
        if self.on_take is not None:
            self.on_take(delivery)
        return Step.HANDLE, delivery

    def later(self, seconds: float, step: Step, delivery: Delivery) -> None:
        """Do *step* with *delivery* in *seconds*.

        After `close` only if it is nowhere but here; and what is to be handled again then is so at once.
        """
        with self._not_empty:
            if self._abandoned or (self._closed and not delivery.taken):
                return
            if self._closed and step is Step.HANDLE:
                seconds = 0.0
            heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), step, delivery))
            self._not_empty.notify()

    def close(self) -> None:
        """Give out no message any more that the broker will give out again; wake everybody who waits."""
        with self._not_empty:
            self._closed = True
            self._drop_unbegun()
            self._later = [
                (0.0 if step is Step.HANDLE else due, order, step, delivery)
                for due, order, step, delivery in self._later
            ]
            heapq.heapify(self._later)
            self._not_empty.notify_all()

    def abandon(self) -> int:
        """Give out nothing more at all; return how many messages are lost by that, as they are nowhere but here."""
        with self._not_empty:
            self._closed = self._abandoned = True
            self._drop_unbegun()
            lost = len(self._later)
            self._later = []
            self._not_empty.notify_all()
            return lost

    def _drop_unbegun(self) -> None:
        self._frames.clear()
        self._later = [entry for entry in self._later if entry[3].taken]
        heapq.heapify(self._later)
        self._not_empty.notify_all()
