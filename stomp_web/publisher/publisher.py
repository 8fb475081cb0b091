"""`Publisher` serializes a payload, sends a message and waits for a receipt. Every framework layer exposes a publisher.

First a serializer writes the payload. Then `Publisher` makes a `Message`, which a backend delivers.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from os import getpid

from .._internal.per_process import PerProcess, Unpicklable
from .._internal.redacted import redact_secrets
from ..client.message import MESSAGE_ID, Message, bytes_of, check_ttl, make_ready, new_message
from ..client.outcome import name_messages
from ..config import DEFAULTS, Options, read_options
from ..connection.address import parse_address
from ..connection.deadline import Deadline, checked, deadline_in
from ..errors import ConfigurationError, InvalidFrame, MessageError, StompError
from ..observers import Observer, Observers, installers
from ..pool import Health
from ..serializers import SIGNATURE, SerializedPayload, check_keys, get_serializer
from .backends.broker import BrokerBackend
from .backends.local import MemoryBackend, OutboxMessage, local_backend
from .batch import Batch
from .events import SendEvents
from .in_thread import call_in_thread, warn_of_blocking
from .routes import make_routes, own_headers
from .stats import Counters, PublisherStats

__all__ = ["Publisher"]

#: Functions that redirect messages while tests capture them. Each function is called with the publisher, and returns a
#: backend or ``None``. The latest function is called first. Only `stomp_web.testing` changes this list.
detours: list[typing.Callable[[Publisher], typing.Any]] = []


class Publisher(Unpicklable):
    """A thread-safe and fork-safe sender of messages to a broker. The first send opens a connection.

    * *url* - the address, such as ``stomp://user:passcode@localhost:61613/vhost``. Commas separate the addresses
      of several brokers. The following addresses need no broker: ``memory://`` records messages in `outbox`,
      ``console://`` prints messages, and ``null://`` drops messages.
    * *observers* - callables that get events about every send and every change of the pool: see `stomp_web.observers`.
    * *options* - see `stomp_web.config.OPTIONS`. These options override the options in *url*.

    Raises `ConfigurationError` for an unknown option, a bad value or a bad address.

    >>> publisher = Publisher("memory://")
    >>> message_id = publisher.send("/queue/orders", {"id": 7})
    >>> publisher.outbox[0].payload
    {'id': 7}
    """

    def __init__(
        self, url: str = "stomp://127.0.0.1:61613", *, observers: typing.Iterable[Observer] = (), **options: typing.Any
    ) -> None:
        options = redact_secrets(options)
        url = read_options({"url": url})["url"]
        address = parse_address(url)
        self.options = Options(**{"url": url, **read_options(address.options, options)})
        self.observers = Observers(observers)
        self._timeout = checked(self.options.timeout)
        self._keys = self.options.signing_keys
        standing = dict(self.options.headers)
        self._content_type = standing.pop("content-type", None)
        self._serializer = get_serializer(self.options.serializer)
        if self._serializer.signs:  # checked now, because otherwise the first send would fail
            check_keys(self._serializer, self._keys)
            if self._content_type is not None:
                raise ConfigurationError(
                    f"the option headers must not contain content-type with the serializer {self._serializer.name}: "
                    "the content type of a signed message belongs to what is signed",
                    "headers",
                )
        self.blocks = not address.local  # whether a send may wait for a broker
        self._backend: typing.Any = (
            local_backend(address.scheme, self._keys) if address.local else BrokerBackend(self.options, self.observers)
        )
        self._counters = PerProcess(Counters)
        self._route = make_routes(standing, self.options.persistent)
        if self.options.telemetry:
            from ..telemetry import instrument

            instrument(self)
        for install in installers:
            install(self)

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return str(self._backend.address)

    @property
    def outbox(self) -> list[OutboxMessage]:
        """The messages that a publisher for ``memory://`` has sent. The caller may clear the list.

        Raises `StompError` if the publisher has another address.
        """
        if not isinstance(self._backend, MemoryBackend):
            raise StompError(f"only a Publisher with the address memory:// has an outbox; this one has {self.url}")
        return self._backend.outbox

    def __repr__(self) -> str:
        return f"<Publisher {self.url}>"

    _instead = "hand over its address, or the name of the setting, and make a Publisher there"

    def __copy__(self) -> Publisher:
        """Return a new publisher with the same options and observers. The two publishers share no connection."""
        again = object.__new__(self.__class__)
        options = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(self.options)}
        Publisher.__init__(again, observers=self.observers.known, **options)
        return again

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> Publisher:
        return self.__copy__()

    def send(
        self,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        serializer: str | None = None,
        confirm: bool | None = None,
        persistent: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Send one message, and return its id. The header ``x-message-id`` contains the id.

        * *destination* - the queue or topic, such as ``/queue/orders``.
        * *payload* - any object that the serializer can write.
        * *headers* - a mapping with more headers, whose names and values are ``str``. The header ``x-message-id`` sets
          the id of the message, and must not be empty.
        * *serializer* - ``json``, ``pickle``, ``text``, ``bytes``, ``signed-json``, ``signed-pickle`` or the name of a
          registered serializer. Default: ``json``.
        * *confirm* - whether to wait for the broker's receipt. Default: true.
        * *persistent* - whether the message survives a restart of the broker. Default: true.
        * *priority* - from 0 (lowest) to 9 (highest). Without *priority*, brokers use 4.
        * *ttl* - how many seconds the message may wait for a receiver. The maximum is 3155760000 (100 years).
        * *correlation_id*, *reply_to* - the headers ``correlation-id`` and ``reply-to``. *reply_to* must not be a
          temporary destination, such as ``/temp-queue/a``, because a publisher cannot receive the reply. A
          `QueueingDuplexClient` can receive the reply.
        * *timeout* - seconds for the whole call. Default: 5.

        The publisher's options change the defaults of *serializer*, *confirm*, *persistent* and *timeout*. Raises:

        * `SerializationError`, `InvalidFrame`, `ConfigurationError` - the message cannot be sent. Nothing was sent.
        * `NotSent` (`BrokerUnavailable`, `AuthenticationFailed`, `PoolTimeout`, `PoolClosed`) - the message was not
          sent. The caller can safely send the message again.
        * `Rejected` - the broker refused the message.
        * `DeliveryUnknown` (`ReceiptTimeout`, `ConnectionLost`) - the message may have arrived.
        """
        if self.blocks and "asyncio.events" in sys.modules:
            warn_of_blocking("send()", "await asend()")
        deadline = deadline_in(self._timeout if timeout is None else checked(timeout))
        counters = self._counters[getpid()]
        message = self._message(
            counters, destination, payload, headers, serializer, persistent, priority, ttl, correlation_id, reply_to
        )
        message_id: str = message.headers[MESSAGE_ID]  # type: ignore[index]
        self._deliver(counters, (message,), confirm, deadline)
        return message_id

    async def asend(
        self,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        serializer: str | None = None,
        confirm: bool | None = None,
        persistent: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Send one message from a coroutine without blocking the event loop, and return the id of the message.

        The arguments and exceptions are those of `send`. The payload is serialized when the coroutine begins to run. A
        thread of the loop's default executor sends the message, with the caller's context variables. *timeout* includes
        the wait for a thread. Raises `PoolTimeout` if no thread becomes free in this time.

        Limit the time by *timeout*, and not by ``asyncio.timeout``, which cancels the task. If the task is cancelled
        while the message waits for a thread, the message is not sent. If the task is cancelled later, the message may
        arrive. In this case, observers and `stats` get the outcome, and a failure is logged.
        """
        counters = self._counters[getpid()]
        message = self._message(
            counters, destination, payload, headers, serializer, persistent, priority, ttl, correlation_id, reply_to
        )
        whole = self.options.timeout if timeout is None else timeout
        await call_in_thread(lambda left: self.deliver_ready([message], confirm, left), message, whole)
        return message.id or ""

    def send_many(
        self,
        messages: typing.Iterable[Message | tuple[typing.Any, ...]],
        *,
        serializer: str | None = None,
        confirm: bool | None = None,
        persistent: bool | None = None,
        timeout: float | None = None,
    ) -> list[str]:
        """Send several messages together, and return their ids in order.

        *messages* contains `Message` objects, and tuples with the elements ``(destination, payload)`` or
        ``(destination, payload, headers)``. A bytes-like or ``str`` body of a `Message` is sent unchanged. The other
        arguments are those of `send`. If one message is invalid, no message is sent. Raises the errors of `send`. The
        attribute `confirmed` of a `MessageError` contains the positions of the confirmed messages.
        """
        counters = self._counters[getpid()]
        writer = self._serializer if serializer is None else get_serializer(serializer)

        def write(destination: str, payload: typing.Any, headers: typing.Mapping[str, str] | None = None) -> Message:
            written = writer.serialize(payload, destination=destination, keys=self._keys)
            return self._message(
                counters, destination, None, headers, None, persistent, None, None, None, None, written
            )

        ready = [
            self.complete(message, serializer, persistent) if isinstance(message, Message) else write(*message)
            for message in messages
        ]
        return self._deliver_together(ready, confirm, timeout)

    def batch(self, *, confirm: bool | None = None, timeout: float | None = None) -> Batch:
        """Return a context manager that collects messages, and sends the messages together when the block ends.

        If the block raises an exception, the messages are dropped. Arguments and exceptions are those of `send_many`.

        >>> with Publisher("memory://").batch() as batch:
        ...     first = batch.send("/queue/orders", 1)
        ...     second = batch.send("/queue/orders", 2)
        """
        deliver = functools.partial(self._deliver_together, confirm=confirm, timeout=timeout)
        return Batch(self.prepare, self.complete, deliver)

    def _deliver_together(self, ready: list[Message], confirm: bool | None, timeout: float | None) -> list[str]:
        if self.blocks:
            warn_of_blocking("sending a batch", "asyncio.to_thread()")
        self.deliver_ready(ready, confirm, timeout)
        return [message.id or "" for message in ready]

    def prepare(
        self,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        serializer: str | None = None,
        persistent: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> Message:
        """Return the message that `send` would send, with an id and a serialized payload. `deliver` sends this message.

        Raises `SerializationError`, `InvalidFrame` and `ConfigurationError` like `send`.
        """
        counters = self._counters[getpid()]
        return self._message(
            counters, destination, payload, headers, serializer, persistent, priority, ttl, correlation_id, reply_to
        )

    def deliver(
        self, messages: typing.Sequence[Message], *, confirm: bool | None = None, timeout: float | None = None
    ) -> list[str]:
        """Send messages that `prepare` has returned, and return their ids. Raises the errors of `send_many`."""
        for message in messages:
            make_ready(message)  # again, because the caller may have changed or made the message
        self.deliver_ready(messages, confirm, timeout)
        return [message.id or "" for message in messages]

    def deliver_ready(self, messages: typing.Sequence[Message], confirm: bool | None, timeout: float | None) -> None:
        """Send *messages* without another check.

        `prepare` or `make_ready` must have checked each message. The messages must not have changed since then.
        """
        if messages:
            deadline = deadline_in(self._timeout if timeout is None else checked(timeout))
            self._deliver(self._counters[getpid()], messages, confirm, deadline)

    def check(self, timeout: float | None = None) -> Health:
        """Check whether the broker answers within *timeout* seconds. See `PublishClientPool.check`."""
        return typing.cast(Health, self._backend.check(timeout))

    def stats(self) -> PublisherStats:
        """Return the statistics of the publisher in this process."""
        return self._counters[getpid()].stats(self._backend.pool_stats())

    def close(self, timeout: float = DEFAULTS.timeout) -> None:
        """Close every idle connection within *timeout* seconds. Later sends raise `PoolClosed`.

        A connection in use is closed after its send.
        """
        self._backend.close(timeout)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _message(
        self,
        counters: Counters,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None,
        serializer: str | None,
        persistent: bool | None,
        priority: int | None,
        ttl: float | None,
        correlation_id: str | None,
        reply_to: str | None,
        written: SerializedPayload | None = None,
    ) -> Message:
        """Return a message that a backend can send. *written* is a serialized payload, which replaces *payload*."""
        if written is None:
            writer = self._serializer if serializer is None else get_serializer(serializer)
            written = writer.serialize(payload, destination=destination, keys=self._keys)
        content, content_type = written.body, self._content_type or written.content_type
        if type(content) is not bytes:  # an application's own serializer may return another bytes-like object
            content = bytes_of(content, destination)
        own: dict[str, str] | None = None  # the message's own headers, without its id
        if headers is not None or written.headers or correlation_id is not None or reply_to is not None:
            own = own_headers(headers, written.headers, persistent, priority, correlation_id, reply_to)
            content_type = own.pop("content-type", content_type)
            if content_type != written.content_type and SIGNATURE in written.headers:
                raise InvalidFrame(
                    "the content type of a signed message belongs to what is signed; leave it to the serializer"
                )
        try:
            route = self._route(destination, content_type, persistent, priority)
        except TypeError:  # an argument is not hashable, such as a list as the destination: `Route` refuses it
            destination = str.__str__(destination) if isinstance(destination, str) else destination
            route = self._route.__wrapped__(destination, content_type, persistent, priority)
        message_id = counters.next_id()
        head = b"%bx-message-id:%b\n" % (route.encoded, message_id.encode())
        all_headers = {**route.headers, MESSAGE_ID: message_id}
        if own:
            all_headers.update(own)
            if len(all_headers) != len(route.headers) + 1 + len(own):  # *own* has an id, or replaces a standing header
                route = self._route(destination, content_type, persistent, priority, True)
                own, head = all_headers, route.encoded
            head += route.lines_of(own)[1]
        if ttl is not None:
            check_ttl(ttl)
        prepared = (head, content, content_type, all_headers)
        return new_message(destination, content, all_headers, content_type, ttl, prepared)

    def complete(self, message: Message, serializer: str | None, persistent: bool | None) -> Message:
        """Return a sendable copy of *message*, with an id. A body that is not bytes-like or ``str`` is serialized."""
        if not isinstance(message.body, bytes | bytearray | memoryview | str):
            headers = dict(message.headers or {})
            if message.content_type is not None:
                headers["content-type"] = message.content_type
            options = {"serializer": serializer, "persistent": persistent, "ttl": message.ttl}
            return self.prepare(message.destination, message.body, headers, **options)
        _, content, content_type, given = make_ready(message).prepared
        if content_type is not None and (message.content_type is not None or "content-type" in (message.headers or ())):
            given = {**given, "content-type": content_type}  # this content type overrides that of the options
        written = SerializedPayload(content, content_type, {})  # type: ignore[arg-type]
        counters = self._counters[getpid()]
        ready = self._message(
            counters, message.destination, None, given, None, persistent, None, message.ttl, None, None, written
        )
        ready.send_id = message.send_id
        return ready

    def _deliver(
        self, counters: Counters, messages: typing.Sequence[Message], confirm: bool | None, deadline: Deadline
    ) -> None:
        if confirm is None:
            confirm = self.options.confirm
        # Without observers, no step is made for them.
        events = SendEvents(self.observers, messages) if self.observers.known and self.observers else None
        try:
            if events is not None:
                events.apply()
            backend = self._backend if not detours else self._detour()
            backend.deliver(messages, confirm, deadline)
        except BaseException as error:  # observers are notified of an interrupted send, too
            if isinstance(error, MessageError):
                name_messages(error, messages)
            counters.failed(error, len(messages))
            if events is not None:
                events.end(confirm, error)
            raise
        count = len(messages)
        counters.sent += count
        if confirm:
            counters.confirmed += count
        if events is not None:
            events.end(confirm)

    @property
    def is_captured(self) -> bool:
        """Whether a test records the messages of this publisher. If so, no message is sent. See `stomp_web.testing`."""
        return bool(detours) and self._detour() is not self._backend

    def _detour(self) -> typing.Any:
        for detour in reversed(detours):
            backend = detour(self)
            if backend is not None:
                return backend
        return self._backend
