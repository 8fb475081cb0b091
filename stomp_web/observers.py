"""Observers: callables that are notified of events that concern messages and connections.

Metrics, tracing and the signals of the frameworks are built on them. An observer takes one event. It is called in the
sending thread, so it should be quick. It may send, even through the same publisher: no lock and no connection is held
while it is called. Its exceptions are logged and do not affect the sender.
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
    """A message was sent; `confirmed` tells whether its receipt came, `seconds` is how long the call or batch took."""

    message_id: str
    destination: str
    confirmed: bool
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class SendFailed:
    """Sending a message failed. The class of `error` says what is true of the message."""

    message_id: str
    destination: str
    error: BaseException
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class PoolChanged:
    """Something happened to a connection of the pool.

    `change` is ``opened``, ``stale`` (found dead at a lease), ``retired`` (too old, or idle for too long),
    ``discarded`` (after an error), ``connect_failed`` or ``closed``. `broker` is its address, without credentials.
    """

    change: str
    broker: str


Event = SendBegan | SendSucceeded | SendFailed | PoolChanged
Observer = typing.Callable[[Event], object]


class Observers:
    """The observers of one publisher. It is false if no observer listens; then no events are made.

    An observer that forwards events may have a method ``listens``, which returns whether it has listeners now.
    """

    __slots__ = ("known",)

    def __init__(self, observers: typing.Iterable[Observer] = ()) -> None:
        #: All observers, listening or not.
        self.known = tuple(observers)

    def __bool__(self) -> bool:
        for observer in self.known:
            listens = getattr(observer, "listens", None)
            if listens is None or listens():
                return True
        return False

    def add(self, observer: Observer) -> None:
        """Notify *observer* of all events from now on."""
        self.known = (*self.known, observer)

    def remove(self, observer: Observer) -> None:
        """Stop notifying *observer*. Does nothing if it was not added."""
        self.known = tuple(known for known in self.known if known != observer)

    def notify(self, event: Event) -> None:
        """Call every observer with *event*. Exceptions are logged, with their traceback."""
        for observer in self.known:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer must not disturb the sender
                _log.exception("the observer %r failed at %s", observer, type(event).__name__)


class SignalObserver:
    """Sends a framework's signals *sent* and *failed* for messages, with the fields of the event as arguments.

    *method* is the name of the signals' method, which also gets *args* and *kwargs*.
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
        # Not Django's `has_listeners`, which takes a lock and looks at each receiver.
        return bool(self._sent.receivers or self._failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        send = self._send.get(type(event))
        if send is not None:
            send(**{field.name: getattr(event, field.name) for field in dataclasses.fields(event)})
