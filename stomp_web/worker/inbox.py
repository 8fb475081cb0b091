"""The inbox: messages that have come and wait for a hand, and those that wait for their next try.

It is the `message_queue` of the worker's client, so the reader's loop puts frames in, and reads no further while it is
full. It outlives sessions. When one ends, what was not begun is dropped, because the broker gives it out again; only
messages of ``auto`` subscriptions, which the broker counts as taken, stay.
"""

from __future__ import annotations

import dataclasses
import enum
import heapq
import itertools
import logging
import time
import typing

from ..client.queues import FrameQueue
from ..protocol import Frame
from .handlers import Handler

__all__ = ["Delivery", "Inbox", "Step"]

_log = logging.getLogger("stomp_web.worker")


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
    * `key` - by which another delivery of the same message is known; ``None`` if there is nothing to know it by.
    * `failures` - how often its handling has failed. `tries` - how often it was tried to bury it.
    * `done` - nothing more is to be done; its acknowledgement may wait for those of earlier messages.
    """

    frame: Frame
    handler: Handler
    session: int = 0
    key: str | None = None
    redelivered: bool = False
    failures: int = 0
    tries: int = 0
    error: str = ""
    done: bool = False


class Inbox(FrameQueue):
    """Messages between the reader's loop and the hands. *handlers* are found by the id of their subscription."""

    def __init__(self, handlers: typing.Iterable[Handler], maxsize: int) -> None:
        super().__init__(maxsize)
        self._handlers = {handler.id: handler for handler in handlers}
        self._later: list[tuple[float, int, Step, Delivery]] = []
        self._order = itertools.count()
        self._closed = False
        #: Set, without a lock, by whoever will call `close` soon: nothing is given out until then.
        self.closing = False
        #: Called with each delivery that is taken for the first time, in the order in which the messages came.
        self.on_take: typing.Callable[[Delivery], object] | None = None
        self.received = 0

    # -- the reader's side ------------------------------------------------------------------------------------

    def offer(self, frame: Frame) -> bool:
        """Put *frame* in, and return whether there was room. For the reader's loop; it never waits."""
        with self._not_empty:
            if len(self._frames) >= self.maxsize:
                return False
            if frame.headers.get("subscription") not in self._handlers:
                _log.warning("a message of an unknown subscription came, and was dropped: %r", frame)
                return True
            self.received += 1
            if not self._closed or self._taken_already(frame):
                self._frames.append(frame)
                self._not_empty.notify()
            return True

    def begin(self) -> None:
        """A session has begun."""

    def end(self, reason: BaseException, last: typing.Iterable[Frame] = ()) -> None:
        """The session has ended; *last* are frames for which there was no room."""
        with self._not_empty:
            last = list(last)
            self.received += len(last)
            self._drop_unbegun(last)

    # -- the hands' side --------------------------------------------------------------------------------------

    def take(self) -> tuple[Step, Delivery] | None:
        """Return the next thing to do, waiting for it; ``None`` when the inbox was closed and there is nothing left."""
        with self._not_empty:
            while True:
                if self.closing and not self._closed:
                    self._not_empty.wait()
                    continue
                now = time.monotonic()
                if self._later and self._later[0][0] <= now:
                    _, _, step, delivery = heapq.heappop(self._later)
                    return step, delivery
                if self._frames:
                    frame = self._frames.popleft()
                    delivery = Delivery(frame, self._handlers[frame.headers["subscription"]])
                    if self.on_get is not None:
                        self.on_get()
                    if self.on_take is not None:
                        self.on_take(delivery)
                    return Step.HANDLE, delivery
                if self._closed and not self._later:
                    return None
                self._not_empty.wait(self._later[0][0] - now if self._later else None)

    def later(self, seconds: float, step: Step, delivery: Delivery) -> None:
        """Do *step* with *delivery* in *seconds*. After `close`: at once if nobody else has the message, else never."""
        with self._not_empty:
            if self._closed:
                if not self._taken_already(delivery.frame):
                    return
                seconds = 0.0
            heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), step, delivery))
            self._not_empty.notify()

    def close(self) -> None:
        """Give out no message any more that the broker will give out again; wake everybody who waits."""
        with self._not_empty:
            self._closed = True
            self._drop_unbegun()
            self._later = [(0.0, order, step, delivery) for _, order, step, delivery in self._later]
            heapq.heapify(self._later)
            self._not_empty.notify_all()

    def _drop_unbegun(self, last: typing.Iterable[Frame] = ()) -> None:
        kept = [frame for frame in itertools.chain(self._frames, last) if self._taken_already(frame)]
        self._frames.clear()
        self._frames.extend(kept)
        self._later = [entry for entry in self._later if self._taken_already(entry[3].frame)]
        heapq.heapify(self._later)
        self._not_empty.notify_all()

    def _taken_already(self, frame: Frame) -> bool:
        """Whether the broker counts the message as taken, so that it is nowhere but here."""
        return self._handlers[frame.headers["subscription"]].ack == "auto"
