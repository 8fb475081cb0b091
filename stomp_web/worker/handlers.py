"""Handlers and their destinations, the message that a handler gets, and the exception that it may raise."""

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
    """A handler raises this if it can never handle the message.

    The message becomes a dead letter at once and is not tried again.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as a handler gets it.

    * `payload` - the sender's payload, decoded by the serializer for the ``content-type``.
    * `body` - the received bytes. `headers` - the headers of the MESSAGE frame, unescaped.
    * `destination` - the destination from which the message came.
    * `id` - the sender's ``x-message-id``, which is the same at every delivery. If this header is missing or empty,
      `id` is the broker's ``message-id``.
    * `redelivered` - whether the message may have been handled before: the broker has marked it as redelivered, or this
      worker has failed to handle it.
    * `failures` - how often the message has failed, as far as this worker knows. It is the larger of two numbers: the
      worker's own failed tries, and the earlier deliveries by a quorum queue of RabbitMQ (``x-delivery-count`` of 3.10,
      ``x-acquired-count`` of 4.3). The queue also counts messages that a worker returned unhandled when it stopped.
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
    """One subscription. `name` is the function's name for the log. An empty `untyped` stands for the worker's value."""

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
    """Functions and the destinations that they handle. You can fill a `Handlers` before you make its `Worker`.

    >>> handlers = Handlers()
    >>> @handlers.subscribe("/queue/orders", accept=("json",))
    ... def place_order(message):
    ...     print(message.payload)

    *once_arguments* - how many arguments a handler with ``once=True`` will get; ``None`` if that is not known yet.
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
        """Return a decorator. The worker calls the function with a `ReceivedMessage` for each message of *destination*.

        * *ack* - with ``client-individual`` or ``client``, a message is acknowledged after its handler has returned.
          With ``client``, one ACK can acknowledge several messages. But RabbitMQ gets an ACK for each message, because
          its cumulative ACK would include messages of other handlers. With ``auto``, a message is acknowledged right
          before its handler is called. The message is lost if the worker dies before the handler returns.
        * *accept* - the names of the permitted serializers. A message in another format becomes a dead letter.
          ``pickle`` is permitted only if it is named here, because the sender of a pickle can run code in this process.
          If *accept* is empty, nothing is decoded, and the payload is the body. Programs that inspect dead letters need
          this.
        * *headers* - more headers of SUBSCRIBE, such as ``selector``.
        * *untyped* - the name of the serializer for bodies without a content type, such as ``json`` for messages of JMS
          producers. It must be in *accept*, too. Default: the worker's *untyped*.
        * *sent_to* - other destinations to which signed messages may have been sent. Name them if the broker moves
          messages from them to *destination*; see `stomp_web.serializers.deserialize`.
        * *once* - handle each message once, even if it is delivered again. The handler runs in a transaction of the
          worker's *inbox*, which also inserts a row for the handler and the message. An inbox of `stomp_web.sqlalchemy`
          calls the handler with the message and the session.
        * *id* - the subscription's id. RabbitMQ identifies a durable subscription by this id.

        The function must have done its work when it returns. So ``async`` functions and generator functions are
        refused, also as methods, in ``functools.partial`` objects and as ``__call__`` methods. The results of asgiref's
        ``sync_to_async`` are refused, too. Inside a lambda or another library's decorator, such a function cannot
        be recognized. Then each call that returns an awaitable or a generator counts as a failure.

        Raises `InvalidFrame` if the destination, the ack mode or a header is invalid. Raises `ConfigurationError` if
        the function is refused or cannot be called with a handler's arguments, if *id* is in use, or if the queue has a
        handler already. Two handlers of one queue would share its messages.
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
        """Raise `ConfigurationError` if a worker with *dead_letter* and the signing *keys* cannot run the handlers.

        *once_arguments* - how many arguments the worker's inbox passes to a handler; ``None`` if there is no inbox.
        """
        if not self._handlers:
            raise ConfigurationError("there is no handler; decorate a function with subscribe('/queue/...')")
        for handler in self._handlers:
            for name in (*handler.accept, *([handler.untyped] if handler.untyped else [])):
                check_keys(get_serializer(name), keys)
            if handler.destination == dead_letter:
                raise ConfigurationError(
                    f"{handler.name} handles {dead_letter}, and a message with which it fails would come there again; "
                    "give this worker another dead_letter",
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
                    f"{handler.name} has another name in each process, so that an inbox would not know what it has "
                    "handled; decorate a function",
                    "inbox",
                )
            _check_once(handler, once_arguments)

    def copy(self) -> Handlers:
        """Return other `Handlers` with the same functions. Later, functions can be added to each of the two."""
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
    """Return the function's name for the log, even if its attributes or its ``repr`` raise."""
    try:
        name = getattr(function, "__qualname__", None)
        text = f"{getattr(function, '__module__', '')}.{name}" if name else repr(function)
    except Exception:  # noqa: BLE001 - the object's own code may raise
        text = f"an object of {type(function).__module__}.{type(function).__qualname__}"
    return harmless(text, lines=False)


def _kind_that_returns_unrun(function: object) -> str | None:
    """Return the kind of *function*, such as ``"async"``, if a call returns before its code has run; else ``None``."""
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
