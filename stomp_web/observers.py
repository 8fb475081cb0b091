"""Observers: callables that get events about messages and connections.

Metrics, tracing and framework signals use observers. The sending thread calls every observer, so an observer should be
quick. An observer may send messages, even through the publisher that calls the observer. The thread holds no lock and
no connection during the call. An observer's exceptions are logged, and do not affect the sender.
"""

from __future__ import annotations

import dataclasses
import functools
import typing

from ._internal.log import get_logger

__all__ = ["Event", "Observer", "Observers", "PoolChanged", "SendBegan", "SendFailed", "SendSucceeded"]

_log = get_logger("observers")


@dataclasses.dataclass(frozen=True, slots=True)
class SendBegan:
    """The event before a message is sent. An observer may add to `headers`, for example ``traceparent``."""

    message_id: str
    destination: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class SendSucceeded:
    """The event after a message was sent. `confirmed` says if the receipt came. `seconds` is how long the call took."""

    message_id: str
    destination: str
    confirmed: bool
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class SendFailed:
    """The event after a failed send. The class of `error` says what happened to the message."""

    message_id: str
    destination: str
    error: BaseException
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class PoolChanged:
    """The event after a change to a connection of the pool. `broker` is an address without credentials.

    `change` is ``opened``, ``connect_failed``, ``closed``, ``stale``, ``retired`` or ``discarded``. Stale means dead
    before use. Retired means too old, or idle for too long. Discarded means closed after an error.
    """

    change: str
    broker: str


Event = SendBegan | SendSucceeded | SendFailed | PoolChanged
Observer = typing.Callable[[Event], object]


class Observers:
    """The observers of one publisher. While no observer listens, the object is false and no events are made.

    An observer may have a method ``listens`` that returns whether the observer wants events now.
    """

    __slots__ = ("known",)

    def __init__(self, observers: typing.Iterable[Observer] = ()) -> None:
        #: All observers, even if they do not listen.
        self.known = tuple(observers)

    def __bool__(self) -> bool:
        for observer in self.known:
            listens = getattr(observer, "listens", None)
            if listens is None or listens():
                return True
        return False

    def add(self, observer: Observer) -> None:
        """Call *observer* with every later event."""
        self.known = (*self.known, observer)

    def remove(self, observer: Observer) -> None:
        """Stop calling *observer*. Do nothing if *observer* was not added."""
        self.known = tuple(known for known in self.known if known != observer)

    def notify(self, event: Event) -> None:
        """Call every observer with *event*. Log the exception of an observer with its traceback."""
        for observer in self.known:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer must not disturb the sender
                _log.exception("the observer %r failed at %s", observer, type(event).__name__)


class SignalObserver:
    """An observer that sends the signal *sent* for a `SendSucceeded`, and the signal *failed* for a `SendFailed`.

    *method* is the name of the method that sends a signal. The method gets *args*, *kwargs* and the event's fields.
    """

    def __init__(
        self, sent: typing.Any, failed: typing.Any, method: str, *args: typing.Any, **kwargs: typing.Any
    ) -> None:
        self._sent, self._failed = sent, failed
        self._send: dict[type, typing.Callable[..., object]] = {
            SendSucceeded: functools.partial(getattr(sent, method), *args, **kwargs),
            SendFailed: functools.partial(getattr(failed, method), *args, **kwargs),
        }

    def listens(self) -> bool:
        """Return whether *sent* or *failed* has a connected receiver."""
        # Django's `has_listeners` would take a lock, and check each receiver.
        return bool(self._sent.receivers or self._failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        send = self._send.get(type(event))
        if send is not None:
            send(**{field.name: getattr(event, field.name) for field in dataclasses.fields(event)})
