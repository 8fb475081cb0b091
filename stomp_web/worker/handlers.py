"""Handlers with their destinations, the class of received messages, and the exception `Reject`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing

from .._internal.printable import harmless
from ..errors import ConfigurationError
from ..protocol import commands
from ..serializers import check_keys, get_serializer
from ..serializers.base import Keys

__all__ = ["ACCEPT", "Function", "Handler", "Handlers", "ReceivedMessage", "Reject"]


class Reject(Exception):
    """Raised by a handler that can never handle the message. The message becomes a dead letter without another try."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as a handler gets it.

    * `payload` - the sender's payload, decoded by the serializer for the ``content-type``.
    * `body`, `headers` - the received bytes, and the unescaped headers of the MESSAGE frame.
    * `destination` - the destination from which the message came.
    * `id` - the sender's ``x-message-id``, which is the same at every delivery. If this header is missing or empty,
      `id` is the broker's ``message-id``.
    * `redelivered` - whether the message may have been handled before. True if the broker has marked the message as
      redelivered, or if this worker has failed to handle it.
    * `failures` - how often the message has failed, as far as this worker knows. The value is the larger of two
      counts. The worker counts its own failed tries. A quorum queue of RabbitMQ counts earlier deliveries, in
      ``x-delivery-count`` (3.10) or ``x-acquired-count`` (4.3). If a worker stops and
      returns unhandled messages to the queue, RabbitMQ counts these deliveries, too.
    * `defects` - one sentence for each defect of the MESSAGE frame. For example, some bytes of a header were not UTF-8
      and were replaced. See `stomp_web.protocol.FrameBuffer`.
    """

    payload: typing.Any = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    headers: dict[str, str] = dataclasses.field(repr=False)
    destination: str
    id: str
    redelivered: bool
    failures: int
    defects: tuple[str, ...] = ()


# A handler is called with a `ReceivedMessage`. With *once* and SQLAlchemy, it is also called with a session.
Function = typing.Callable[..., object]
_F = typing.TypeVar("_F", bound=Function)

#: The default of *accept*. None of these serializers can run code of the sender.
ACCEPT: typing.Final = ("json", "text", "bytes")


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """One subscription and its function. `name` is the function's name for the log.

    `untyped` is the name of the serializer for bodies without a content type. If `untyped` is empty, the worker's
    *untyped* is used.
    """

    function: Function
    name: str
    destination: str
    id: str
    ack: str
    accept: tuple[str, ...]
    headers: dict[str, str]
    untyped: str
    sent_to: tuple[str, ...]
    once: bool


class Handlers:
    """Functions that handle the messages of destinations. A program can fill a `Handlers` before it makes a `Worker`.

    >>> handlers = Handlers()
    >>> @handlers.subscribe("/queue/orders", accept=("json",))
    ... def place_order(message):
    ...     print(message.payload)

    *once_arguments* is how many arguments a handler with ``once=True`` will get, or ``None`` if the number is unknown.
    """

    def __init__(self, once_arguments: int | None = None) -> None:
        self._handlers: list[Handler] = []
        self._once_arguments = once_arguments

    def subscribe(
        self,
        destination: str,
        *,
        ack: str = "client-individual",
        accept: typing.Sequence[str] = ACCEPT,
        headers: typing.Mapping[str, str] | None = None,
        id: str | None = None,
        untyped: str | None = None,
        sent_to: str | typing.Sequence[str] = (),
        once: bool = False,
    ) -> typing.Callable[[_F], _F]:
        """Return a decorator. The worker calls the decorated function with each `ReceivedMessage` of *destination*.

        * *ack* - when the worker acknowledges a message. With ``client-individual`` or ``client``, ACK is sent after
          the handler has returned. With ``client``, one ACK can acknowledge several messages. RabbitMQ always gets an
          ACK for each message, because its cumulative ACK would include messages of other handlers. With ``auto``, ACK
          is sent right before the handler is called. If the worker dies during the call, the message is lost.
        * *accept* - the names of the permitted serializers. A message in another format becomes a dead letter.
          ``pickle`` is permitted only if it is named here, because the sender of a pickle can run code in this process.
          If *accept* is empty, the payload is the undecoded body. A program that inspects dead letters needs an empty
          *accept*.
        * *headers* - more headers of SUBSCRIBE, such as ``selector``.
        * *untyped* - the name of the serializer for bodies without a content type. For example, a TextMessage of JMS
          has no content type. If the text is JSON, use ``json``. The name must also be in *accept*. Default: the
          worker's *untyped*.
        * *sent_to* - other destinations for which messages may be signed. If the broker moves signed messages from
          another destination to *destination*, name the other destination here. See
          `stomp_web.serializers.deserialize`.
        * *once* - handle each message once, even if the broker delivers it again. The handler runs in a transaction of
          the worker's *inbox*. The same transaction inserts a row for the handler and the message. An inbox of
          `stomp_web.sqlalchemy` calls the handler with the message and the session.
        * *id* - the subscription's id. RabbitMQ identifies a durable subscription by this id.

        The function must have done its work when it returns. So the decorator refuses ``async`` functions, generator
        functions and the results of asgiref's ``sync_to_async``. Methods, ``functools.partial`` objects and
        ``__call__`` methods are checked, too. The decorator cannot recognize an ``async`` function in a lambda or in
        another library's decorator. If a call returns an awaitable or a generator, the call counts as a failure.

        Raises `InvalidFrame` if the destination, the ack mode or a header is invalid. Raises `ConfigurationError` if
        the function is refused or cannot be called with a handler's arguments. This error is also raised if *id* is in
        use, or if another handler has the same queue and *headers*. The two handlers would share the queue's messages.
        """
        accept = (accept,) if isinstance(accept, str) else tuple(accept)
        origins = (sent_to,) if isinstance(sent_to, str) else tuple(sent_to)
        identity = f"worker-{len(self._handlers) + 1}" if id is None else id
        commands.subscribe(destination, identity, ack, headers)  # for its errors

        def decorate(function: _F) -> _F:
            name = _name(function)
            if not callable(function):
                raise ConfigurationError(f"the handler {name} cannot be called; decorate a function")
            kind = _kind_that_returns_unrun(function)
            if kind is not None:
                raise ConfigurationError(
                    f"the handler {name} is {kind}: a call of it returns before its code has run; a handler is a plain "
                    "function that has done its work when it returns. For async code, call asyncio.run() in it, or "
                    "decorate it with asgiref.sync.async_to_sync"
                )
            if not _takes(function, 1) and not (once and _takes(function, 2)):
                raise ConfigurationError(f"the handler {name} cannot be called with the message as its one argument")
            more = dict(headers or {})
            made = Handler(function, name, destination, identity, ack, accept, more, untyped or "", origins, once)
            _check_once(made, self._once_arguments)
            self._add(made)
            return function

        return decorate

    def _add(self, handler: Handler) -> None:
        for other in self._handlers:
            if other.id == handler.id:
                raise ConfigurationError(f"there is a subscription with the id {handler.id!r} already")
            same = (other.destination, other.headers) == (handler.destination, handler.headers)
            if same and not handler.destination.startswith("/topic/"):
                raise ConfigurationError(
                    f"{handler.destination} is handled by {other.name} already; each message goes to one subscription, "
                    f"so {handler.name} would get a part of them"
                )
        self._handlers.append(handler)

    def check(self, dead_letter: str, keys: Keys = (), once_arguments: int | None = None) -> None:
        """Raise `ConfigurationError` if a worker cannot run the handlers.

        *dead_letter* is the worker's destination for dead letters, and *keys* are the signing keys. *once_arguments* is
        the number of arguments with which the worker's `OnceInbox` calls a handler. ``None`` means that the worker has
        no `OnceInbox`.
        """
        if not self._handlers:
            raise ConfigurationError("there is no handler; decorate a function with subscribe('/queue/...')")
        for handler in self._handlers:
            for name in (*handler.accept, *([handler.untyped] if handler.untyped else [])):
                check_keys(get_serializer(name), keys)
            if handler.destination == dead_letter:
                raise ConfigurationError(
                    f"{handler.name} handles {dead_letter}, the destination of dead letters, so a message that fails "
                    "would come back to it; give this worker another dead_letter",
                    "dead_letter",
                )
            if handler.once and once_arguments is None:
                raise ConfigurationError(
                    f"{handler.name} has once=True, and this worker has no inbox; give it an Inbox of "
                    "stomp_web.sqlalchemy",
                    "inbox",
                )
            if handler.once and " at 0x" in handler.name:
                raise ConfigurationError(
                    f"{handler.name} has a different name in each process, so an inbox would not know what it has "
                    "handled; decorate a function",
                    "inbox",
                )
            _check_once(handler, once_arguments)

    def copy(self) -> Handlers:
        """Return new `Handlers` with the same functions. A later change of one object does not change the other."""
        again = Handlers(self._once_arguments)
        again._handlers += self._handlers
        return again

    def __iter__(self) -> typing.Iterator[Handler]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)


def _check_once(handler: Handler, arguments: int | None) -> None:
    if handler.once and arguments is not None and not _takes(handler.function, arguments):
        expected = "the message and the session" if arguments == 2 else "the message"
        raise ConfigurationError(f"the handler {handler.name} cannot be called with {expected}", "inbox")


def _name(function: object) -> str:
    """Return the name of *function* for the log, even if the attributes or the ``repr`` of *function* raise."""
    try:
        name = getattr(function, "__qualname__", None)
        text = f"{getattr(function, '__module__', '')}.{name}" if name else repr(function)
    except Exception:  # noqa: BLE001 - the object's own code may raise
        text = f"an object of {type(function).__module__}.{type(function).__qualname__}"
    return harmless(text, lines=False)


def _kind_that_returns_unrun(function: object) -> str | None:
    """Return the kind of *function*, such as ``"async"``, if a call of *function* does not yet run its code.

    For all other functions, return ``None``.
    """
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    # Calling an object runs the ``__call__`` of its class.
    method = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    for each in (function, method):
        # Before Python 3.12, asgiref marks its wrappers with this object. From 3.12 on, `inspect` recognizes them.
        mark = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
        if inspect.iscoroutinefunction(each) or (mark is not None and getattr(each, "_is_coroutine", None) is mark):
            return "async"
        if inspect.isasyncgenfunction(each):
            return "an async generator"
        if inspect.isgeneratorfunction(each):
            return "a generator"
    return None


def _takes(function: Function, count: int) -> bool:
    try:
        signature = inspect.signature(function, follow_wrapped=False)  # a decorator may change the arguments
    except (TypeError, ValueError):  # some functions written in C have no signature
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
