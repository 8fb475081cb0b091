"""What happens to messages and connections, told to whoever wants to know.

This is the one seam on which metrics, tracing, logs of one's own and the frameworks' signals stand. An observer is any
callable that takes one event. It is called in the thread that sends, so it should be quick. It may send, through the
same publisher too: no lock and no connection is held while it is called, and what happens to the pool is told when the
connection is back. What it raises is logged and changes nothing for the sender.
"""

from __future__ import annotations

import dataclasses
import typing

from ._internal.log import get_logger

__all__ = ["Event", "Observer", "Observers", "PoolChanged", "SendBegan", "SendFailed", "SendSucceeded"]

_log = get_logger("observers")


@dataclasses.dataclass(frozen=True, slots=True)
class SendBegan:
    """A message is about to be sent. An observer may add to `headers` (for example ``traceparent``)."""

    message_id: str
    destination: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class SendSucceeded:
    """A message was sent; `confirmed` tells whether the broker's receipt came. `seconds` is the whole call's time.

    Of a batch, every message has an event of its own, with the time of the whole batch.
    """

    message_id: str
    destination: str
    confirmed: bool
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class SendFailed:
    """A message was not sent, or its outcome is not known: see the class of `error`."""

    message_id: str
    destination: str
    error: BaseException
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class PoolChanged:
    """Something happened to a connection of the pool.

    `change` is one of ``opened``, ``stale`` (found dead when it was to be lent), ``retired`` (too old or idle for too
    long), ``discarded`` (after an error), ``connect_failed``, ``closed``. `broker` is its address, without credentials.
    """

    change: str
    broker: str


Event = SendBegan | SendSucceeded | SendFailed | PoolChanged
Observer = typing.Callable[[Event], object]


class Observers:
    """The observers of one publisher. False if there are none, so that nobody makes events for nobody.

    An observer that hands events on to others may have a method ``listens``: whether anybody listens to it now.
    """

    __slots__ = ("known",)

    def __init__(self, observers: typing.Iterable[Observer] = ()) -> None:
        #: All of them, whether they listen or not.
        self.known = tuple(observers)

    def __bool__(self) -> bool:
        for observer in self.known:
            listens = getattr(observer, "listens", None)
            if listens is None or listens():
                return True
        return False

    def add(self, observer: Observer) -> None:
        """Tell *observer* of everything from now on."""
        self.known = (*self.known, observer)

    def remove(self, observer: Observer) -> None:
        """Tell *observer* no more. Does nothing if it is none of the observers."""
        self.known = tuple(known for known in self.known if known != observer)

    def tell(self, event: Event) -> None:
        """Call every observer with *event*. What one raises is logged, with its traceback."""
        for observer in self.known:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer must not disturb the sender
                _log.exception("the observer %r failed at %s", observer, type(event).__name__)
