"""Observers: callables that get events about messages and connections.

Metrics, tracing and the signals of the frameworks use them. An observer takes one event. The sending thread calls it,
so an observer should be quick. An observer may send messages, even through the publisher that notifies it, because the
thread holds no lock and no connection meanwhile. Exceptions of observers are logged and do not affect the sender.
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
    """A message is about to be sent. An observer may add to `headers` (for example ``traceparent``)."""

    message_id: str
    destination: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class SendSucceeded:
    """A message was sent. `confirmed` is true if its receipt came. `seconds` is how long the call or batch took."""

    message_id: str
    destination: str
    confirmed: bool
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class SendFailed:
    """Sending a message failed. The class of `error` tells what happened to the message."""

    message_id: str
    destination: str
    error: BaseException
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class PoolChanged:
    """Something happened to a connection of the pool.

    `change` is ``opened``, ``stale`` (found dead before use), ``retired`` (too old, or idle for too long),
    ``discarded`` (after an error), ``connect_failed`` or ``closed``. `broker` is an address without credentials.
    """

    change: str
    broker: str


Event = SendBegan | SendSucceeded | SendFailed | PoolChanged
Observer = typing.Callable[[Event], object]


class Observers:
    """The observers of one publisher. The object is false if no observer listens; then no events are made.

    An observer that passes events on may have a method ``listens``, which returns whether it has listeners now.
    """

    __slots__ = ("known",)

    def __init__(self, observers: typing.Iterable[Observer] = ()) -> None:
        #: All observers, including those that do not listen.
        self.known = tuple(observers)

    def __bool__(self) -> bool:
        for observer in self.known:
            listens = getattr(observer, "listens", None)
            if listens is None or listens():
                return True
        return False

    def add(self, observer: Observer) -> None:
        """Call *observer* with every event from now on."""
        self.known = (*self.known, observer)

    def remove(self, observer: Observer) -> None:
        """Stop calling *observer*. Does nothing if *observer* is unknown."""
        self.known = tuple(known for known in self.known if known != observer)

    def notify(self, event: Event) -> None:
        """Call every observer with *event*. Exceptions are logged with their tracebacks."""
        for observer in self.known:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer must not disturb the sender
                _log.exception("the observer %r failed at %s", observer, type(event).__name__)


class SignalObserver:
    """For each `SendSucceeded`, sends a framework's signal *sent*; for each `SendFailed`, sends the signal *failed*.

    *method* is the name of the method that sends a signal. This method gets *args*, *kwargs* and the event's fields.
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
        """Whether any receiver is connected to one of the signals."""
        # Django's `has_listeners` would take a lock, and check each receiver.
        return bool(self._sent.receivers or self._failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        send = self._send.get(type(event))
        if send is not None:
            send(**{field.name: getattr(event, field.name) for field in dataclasses.fields(event)})
