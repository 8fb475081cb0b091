"""Observers: callables that get events about messages and connections.

Metrics, tracing and framework signals use observers. The thread that sends or handles a message calls the observers, so
an observer should be quick. An observer may send messages, even through the publisher that calls the observer. During
the call, the thread holds no lock. It holds a connection only in `Publisher.check` and in a block of
`PublishClientPool.client`. An observer's exceptions are only logged.

A publisher notifies its observers of `SendBegan`, `SendSucceeded`, `SendFailed`, `SendDeferred`, `StoreBegan` and
`PoolChanged`. A worker notifies its observers of `MessageReceived`, `MessageHandled`, `MessageFailed`,
`MessageGivenBack` and `MessageDeadLettered`. The worker thread of the message calls the observers, even if another
process runs the handler.
"""

from __future__ import annotations

import dataclasses
import functools
import typing

from ._internal.log import get_logger

if typing.TYPE_CHECKING:
    from .client.message import Message

__all__ = [
    "Event",
    "MessageDeadLettered",
    "MessageFailed",
    "MessageGivenBack",
    "MessageHandled",
    "MessageReceived",
    "Observer",
    "Observers",
    "PoolChanged",
    "SendBegan",
    "SendCall",
    "SendDeferred",
    "SendFailed",
    "SendSucceeded",
    "StoreBegan",
]

_log = get_logger("observers")

#: Functions that are called with each new publisher and each new worker. Only `stomp_web.telemetry` and
#: `stomp_web.panels` change this list.
installers: list[typing.Callable[[typing.Any], object]] = []


class SendCall:
    """One call of `Publisher.send`, or one batch. Its events share one `SendCall` object."""

    __slots__ = ("_messages", "_notes")

    def __init__(self, messages: typing.Sequence[Message] = ()) -> None:
        self._messages = messages
        self._notes: dict[typing.Any, typing.Any] | None = None

    @property
    def destinations(self) -> tuple[str, ...]:
        """The destination of each message, in order."""
        return tuple(message.destination for message in self._messages)

    @property
    def headers(self) -> tuple[dict[str, str], ...]:
        """The headers of each message, in order. Each dict is the same object as in `SendBegan`."""
        return tuple(own_headers(message) for message in self._messages)

    @property
    def notes(self) -> dict[typing.Any, typing.Any]:
        """A dict in which observers store values for later events of this call. The key is the observer itself."""
        if self._notes is None:
            self._notes = {}
        return self._notes


def own_headers(message: Message) -> dict[str, str]:
    """Return the headers of *message*. An observer may add headers to this dict."""
    if message.headers is None:  # the caller made the message
        message.headers = {}
    return typing.cast("dict[str, str]", message.headers)


_call = functools.partial(dataclasses.field, default_factory=SendCall, repr=False, compare=False)


# Events are not frozen, because CPython takes four times as long to make a frozen object.
@dataclasses.dataclass(slots=True, unsafe_hash=True)
class SendBegan:
    """The event before a message is sent. An observer may add to `headers`, for example ``traceparent``."""

    message_id: str
    destination: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body_bytes: int
    call: SendCall = _call()  # noqa: RUF009 - a field


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class SendSucceeded:
    """The event after a message was sent.

    `confirmed` tells whether the receipt came. `seconds` is how long the call took.
    """

    message_id: str
    destination: str
    confirmed: bool
    seconds: float
    call: SendCall = _call()  # noqa: RUF009 - a field


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class SendFailed:
    """The event after a failed send. The class of `error` says what happened to the message."""

    message_id: str
    destination: str
    error: BaseException
    seconds: float
    call: SendCall = _call()  # noqa: RUF009 - a field


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class SendDeferred:
    """A message waits for the commit of a database transaction. `SendBegan` follows only after the commit."""

    message_id: str
    destination: str
    body_bytes: int


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class StoreBegan:
    """A message is about to be written into an outbox.

    An observer may add to `headers`. The row will contain all these headers.
    """

    message_id: str
    destination: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    body_bytes: int


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class PoolChanged:
    """The event after a change to a connection of the pool. `broker` is an address without credentials.

    `change` is ``opened``, ``connect_failed``, ``closed``, ``stale``, ``retired`` or ``discarded``. ``stale`` means
    that the connection was dead before its use. ``retired`` means that the connection was too old, or idle for too
    long. ``discarded`` means that the pool closed the connection after an error. If `change` is ``opened`` and the
    broker gave its name, `server` is this name, such as ``RabbitMQ/4.3.6``. Otherwise, `server` is ``None``.
    """

    change: str
    broker: str
    server: str | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class _OfWorker:
    # The attributes of every event of a worker.
    message_id: str
    destination: str
    subscription: str


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class MessageReceived(_OfWorker):
    """A worker thread has taken a message that the broker delivered, and will call the handler of the message.

    The event comes once for each delivery, even if the worker tries the message several times. `message_id` is the
    ``x-message-id``, or else the broker's ``message-id``. `destination` is the destination of the message.
    `subscription` is the destination to which the handler has subscribed, and may have wildcards. `server` is the name
    that the broker gave.
    """

    headers: typing.Mapping[str, str] = dataclasses.field(repr=False)
    body_bytes: int
    redelivered: bool
    server: str | None = None


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class MessageHandled(_OfWorker):
    """A handler has returned. `seconds` is how long the handler took. If an acknowledgement was due, it was sent."""

    seconds: float


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class MessageFailed(_OfWorker):
    """A handler has raised, its process has died, or the message could not be read. The event comes at each failure.

    `error` is the error in one line. `kind` is the name of the error's class, or ``""``. `failures` counts the failures
    of the message so far, including this failure. `seconds` is how long the handler took.
    """

    error: str
    kind: str
    failures: int
    seconds: float


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class MessageGivenBack(_OfWorker):
    """The worker has returned a failed message to the queue with NACK. The broker will deliver the message again."""


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class MessageDeadLettered(_OfWorker):
    """The broker has confirmed the dead letter of a message.

    `dead_letter` is the destination of the dead letter. `error` is the reason, in one line.
    """

    dead_letter: str
    error: str


Event = (
    SendBegan
    | SendSucceeded
    | SendFailed
    | SendDeferred
    | StoreBegan
    | PoolChanged
    | MessageReceived
    | MessageHandled
    | MessageFailed
    | MessageGivenBack
    | MessageDeadLettered
)
Observer = typing.Callable[[Event], object]


class Observers:
    """The observers of one publisher or worker. ``bool(observers)`` is false while no observer listens.

    While no observer listens, the publisher or worker makes no events. An observer may have a method ``listens`` that
    returns whether the observer wants events now. An observer without this method always listens.
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
        """Call every observer with *event*. If an observer raises, log the exception with its traceback."""
        for observer in self.known:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer must not disturb the sender
                _log.exception("the observer %r failed at %s", observer, type(event).__name__)


class SignalObserver:
    """An observer that sends a signal for each `SendSucceeded` and each `SendFailed`.

    *sent* is the signal for a `SendSucceeded`, and *failed* is the signal for a `SendFailed`. *method* is the name of
    the method that sends a signal. It is called with *args*, with *kwargs*, and with the fields of the event except
    `call`.
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
        """Return whether the signal *sent* or the signal *failed* has a connected receiver."""
        # Django's `has_listeners` would take a lock, and check each receiver.
        return bool(self._sent.receivers or self._failed.receivers)

    def __call__(self, event: Event) -> None:
        """Send the signal for *event*."""
        send = self._send.get(type(event))
        if send is not None:
            names = (field.name for field in dataclasses.fields(event) if field.name != "call")
            send(**{name: getattr(event, name) for name in names})
