"""Publisher: a payload in, a confirmed message out. What every framework layer exposes.

The way of a payload: serializer -> `Message` -> outlet. The outlet is a pool of clients, or one of those for
development.
"""

from __future__ import annotations

import dataclasses
import os
import time
import types
import typing

from .._internal.per_process import PerProcess
from .._internal.printable import short_repr
from .._internal.redacted import Hidden, redact_secrets
from .._internal.unpicklable import Unpicklable
from .._internal.unsendable import check_destination, check_headers
from ..client.heads import MESSAGE_ID, Heads, with_id
from ..client.message import Message, check_message, check_messages
from ..client.outcome import name_messages
from ..config import Options, read_options
from ..connection.address import parse_address
from ..connection.deadline import Deadline
from ..errors import ConfigurationError, InvalidFrame, MessageError, StompError
from ..observers import Observer, Observers, SendBegan, SendFailed, SendSucceeded
from ..pool import Health, PoolStats
from ..serializers import SIGNATURE, SerializedPayload, Serializer, check_keys, get_serializer
from .in_thread import call_in_thread, warn_of_blocking
from .ledger import Ledger
from .local import MemoryOutlet, OutboxMessage, local_outlet
from .outlet import PoolOutlet

__all__ = ["Batch", "Health", "OutboxMessage", "Publisher", "PublisherStats"]

#: Where messages go instead, while tests capture them: each is asked with the publisher, the latest first, and returns
#: an outlet (`stomp_web.publisher.local`) or ``None``. `stomp_web.testing` alone changes it.
detours: list[typing.Callable[[Publisher], typing.Any]] = []


@dataclasses.dataclass(frozen=True, slots=True)
class PublisherStats:
    """What became of the messages since this process began.

    `sent` succeeded (`confirmed` of them with the broker's receipt); `not_sent`, `rejected` and `unknown` failed, by
    the class of their exception. `pool` has the pool's numbers, ``None`` where there is no pool.
    """

    sent: int
    confirmed: int
    not_sent: int
    rejected: int
    unknown: int
    pool: PoolStats | None


class Publisher(Unpicklable):
    """Sends payloads to a broker: thread-safe, fork-safe, connected when first needed.

    * *url* - the address, such as ``stomp://user:passcode@localhost:61613/vhost``, several brokers divided by commas;
      or ``memory://`` (records, see `outbox`), ``console://`` (prints), ``null://`` (discards).
    * *observers* - callables that are told of every send and of the pool's changes (`stomp_web.observers`).
    * *options* - see `stomp_web.config.OPTIONS`, where each is described with unit and default. They win over the
      query of the address.

    Raises `ConfigurationError` for an unknown option, a bad value or a bad address. Opens nothing yet.

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
        self._serializer = get_serializer(self.options.serializer)
        self._check_default_serializer()
        self._blocks = not address.local
        self._outlet: typing.Any = (
            local_outlet(address.scheme, self.options.signing_keys)
            if address.local
            else PoolOutlet(self.options, self.observers)
        )
        self._ledgers = PerProcess(Ledger)
        # Those that every message has, and what a message has besides its id that is given no others.
        self._option_headers = dict(self.options.headers)
        self._common_headers = dict(self._option_headers)
        self._mark_persistent(self._common_headers, None)
        self._heads = Heads(self._common_headers, check_destination)
        self._simple = (
            not address.local
            and not {MESSAGE_ID, "content-type"} & self._common_headers.keys()
            and getattr(self._serializer.serialize, "__func__", None) is Serializer.serialize
        )

    def _check_default_serializer(self) -> None:
        """Refuse options with which the first send would fail."""
        if not self._serializer.signs:
            return
        check_keys(self._serializer, self.options.signing_keys)
        if "content-type" in self.options.headers:
            raise ConfigurationError(
                f"the option headers must not hold content-type with the serializer {self._serializer.name}: the "
                "content type of a signed message belongs to what is signed",
                "headers",
            )

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return str(self._outlet.address)

    @property
    def outbox(self) -> list[OutboxMessage]:
        """The messages sent so far, with the address ``memory://``; the list may be cleared.

        Raises `StompError` with any other address.
        """
        if not isinstance(self._outlet, MemoryOutlet):
            raise StompError(f"only a Publisher with the address memory:// has an outbox; this one has {self.url}")
        return self._outlet.outbox

    def __repr__(self) -> str:
        return f"<Publisher {self.url}>"

    _instead = "hand over its address, or the name of the setting, and make a Publisher there"

    def __copy__(self) -> Publisher:
        """Return a publisher with the same options and observers, and connections of its own."""
        again = self.__class__.__new__(self.__class__)
        options = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(self.options)}
        Publisher.__init__(again, observers=self.observers.known, **options)
        return again

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> Publisher:
        """As a copy."""
        return self.__copy__()

    # -- sending ----------------------------------------------------------------------------------------------

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
        """Send one message, and return its id, which travels as the header ``x-message-id``.

        * *destination* - such as ``/queue/orders``.
        * *payload* - anything the serializer can write.
        * *headers* - more headers, ``str`` to ``str``. An ``x-message-id`` among them is used as the id; it must not
          be empty.
        * *serializer* - ``json``, ``pickle``, ``text``, ``bytes``, ``signed-json``, ``signed-pickle``, or a registered
          one; without it, the option's.
        * *confirm* - wait for the broker's receipt; without it, the option's (true).
        * *persistent* - survive a restart of the broker; without it, the option's (true).
        * *priority* - 0 (lowest) to 9 (highest); brokers take 4 without it.
        * *ttl* - seconds that the message may wait for a receiver, at most 3155760000 (100 years).
        * *correlation_id*, *reply_to* - the headers ``correlation-id`` and ``reply-to``. A temporary destination, such
          as ``/temp-queue/a``, is refused: only the connection that names it gets the answer, and this one receives
          nothing. `QueueingDuplexClient` sends and receives.
        * *timeout* - seconds for the whole call; without it, the option's (5).

        Raises, each telling what is true of the message:

        * `SerializationError`, `InvalidFrame`, `ConfigurationError` - it cannot be sent as it is. Nothing was sent.
        * `NotSent` (`BrokerUnavailable`, `AuthenticationFailed`, `PoolTimeout`, `PoolClosed`) - it was not sent, and
          sending it again is safe.
        * `Rejected` - the broker said no.
        * `DeliveryUnknown` (`ReceiptTimeout`, `ConnectionLost`) - it may have arrived.
        """
        payload = Hidden(payload)
        if self._blocks:
            warn_of_blocking("send()", "await asend()")
        deadline = Deadline(self.options.timeout if timeout is None else timeout)
        if (
            self._simple
            and headers is None
            and serializer is None
            and persistent is None
            and priority is None
            and ttl is None
            and correlation_id is None
            and reply_to is None
            and not detours
            and not (self.observers.known and self.observers)
        ):
            confirm = self.options.confirm if confirm is None else confirm
            return self._send_simple(destination, payload, confirm, deadline)
        message = self._message(
            destination, payload, headers, serializer, persistent, priority, ttl, correlation_id, reply_to
        )
        self._deliver([message], confirm, deadline)
        return typing.cast(str, message.id)

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
        """Send one message from a coroutine without blocking the event loop, and return its id.

        The arguments and exceptions are those of `send`. The payload is written when the coroutine begins to run
        (at ``await``, or when the loop starts the task that was made of it); the rest happens in a thread of the loop's
        default executor, with the context variables of the caller. The time for which it waits for a thread is part of
        *timeout*; `PoolTimeout` if none becomes free.

        If the task is cancelled while the message waits for a thread, the message is not sent. After that the sending
        goes on without the task: the message may arrive, as after `DeliveryUnknown`. Observers, signals and `stats`
        tell what became of it, and a failure is logged, too. So limit the time by *timeout*, which tells the outcome,
        and not by cancellation (``asyncio.timeout``), which leaves it unknown.
        """
        message = self.prepare(
            destination,
            payload,
            headers,
            serializer=serializer,
            persistent=persistent,
            priority=priority,
            ttl=ttl,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
        payload = None  # written; a traceback need not show it

        def deliver(left: float) -> str:
            return self.deliver([message], confirm=confirm, timeout=left)[0]

        whole = self.options.timeout if timeout is None else timeout
        return await call_in_thread(deliver, message, whole)

    def send_many(
        self,
        messages: typing.Iterable[Message | tuple[typing.Any, ...]],
        *,
        serializer: str | None = None,
        confirm: bool | None = None,
        persistent: bool | None = None,
        timeout: float | None = None,
    ) -> list[str]:
        """Send many messages together, and return their ids in order.

        *messages* are tuples ``(destination, payload)`` or ``(destination, payload, headers)``, or `Message` objects,
        whose bodies are sent as they are if they are bytes-like or ``str``. The other arguments are those of `send`
        and hold for all. Nothing is sent if one of them cannot be. Raises as `send` does; the exception's
        `confirmed` tells the positions of those that the broker had confirmed.
        """
        batch = Batch(self, confirm=confirm, timeout=timeout)
        hidden, messages = Hidden(messages), ()  # a traceback that shows locals must not show them
        for message in map(Hidden, hidden.value):
            if isinstance(message.value, Message):
                batch.add(message.value, serializer=serializer, persistent=persistent)
            else:
                batch.send(*message.value, serializer=serializer, persistent=persistent)
        return batch.deliver()

    def batch(self, *, confirm: bool | None = None, timeout: float | None = None) -> Batch:
        """A context manager that collects messages and sends them together when the block ends.

        If the block raises, they are dropped. Arguments and exceptions as of `send_many`.

        >>> with Publisher("memory://").batch() as batch:
        ...     first = batch.send("/queue/orders", 1)
        ...     second = batch.send("/queue/orders", 2)
        """
        return Batch(self, confirm=confirm, timeout=timeout)

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
        """Return the message that `send` would send, with its id and its payload written now.

        For those who send later what is true now, such as after the commit of a database: `deliver` sends it. Raises
        what `send` would raise about a message that cannot be sent as it is.
        """
        payload = Hidden(payload)
        message = self._message(
            destination, payload, headers, serializer, persistent, priority, ttl, correlation_id, reply_to
        )
        check_message(message)
        return message

    def deliver(
        self, messages: typing.Sequence[Message], *, confirm: bool | None = None, timeout: float | None = None
    ) -> list[str]:
        """Send messages that `prepare` made, and return their ids. Raises as `send_many` does."""
        if messages:
            self._deliver(list(messages), confirm, self._deadline(timeout))
        return [message.id or "" for message in messages]

    # -- the whole --------------------------------------------------------------------------------------------

    def check(self, timeout: float | None = None) -> Health:
        """Ask the broker for a sign of life, and return what came of it. See `PublishClientPool.check`."""
        return typing.cast(Health, self._outlet.check(timeout))

    def stats(self) -> PublisherStats:
        """Return the numbers of this process."""
        return PublisherStats(**self._ledgers.own().snapshot(), pool=self._outlet.pool_stats())

    def close(self, timeout: float = 5.0) -> None:
        """Close every connection, in at most *timeout* seconds; later sends raise `PoolClosed`."""
        self._outlet.close(timeout)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the way of a payload ---------------------------------------------------------------------------------

    def _message(
        self,
        destination: str,
        payload: Hidden,
        headers: typing.Mapping[str, str] | None,
        serializer: str | None,
        persistent: bool | None,
        priority: int | None,
        ttl: float | None,
        correlation_id: str | None,
        reply_to: str | None,
    ) -> Message:
        writer = self._serializer if serializer is None else get_serializer(serializer)
        written = writer.serialize(payload.value, destination=destination, keys=self.options.signing_keys)
        return self._compose(destination, written, headers, persistent, priority, ttl, correlation_id, reply_to)

    def _compose(
        self,
        destination: str,
        written: SerializedPayload,
        headers: typing.Mapping[str, str] | None = None,
        persistent: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> Message:
        if headers is not None and not isinstance(headers, typing.Mapping):
            raise InvalidFrame(f"headers must be a mapping of str to str, not {type(headers).__name__}")
        all_headers = {MESSAGE_ID: self._ledgers.own().next_id(), **self._option_headers}
        if headers:
            all_headers.update(headers)
        all_headers.update(written.headers)
        content_type = all_headers.pop("content-type", written.content_type)
        if content_type != written.content_type and SIGNATURE in written.headers:
            raise InvalidFrame(
                "the content type of a signed message belongs to what is signed; leave it to the serializer"
            )
        if correlation_id is not None:
            all_headers["correlation-id"] = correlation_id
        if reply_to is not None:
            all_headers["reply-to"] = reply_to
        if priority is not None:
            if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
                raise InvalidFrame(f"priority must be a whole number from 0 to 9, not {short_repr(priority)}")
            all_headers["priority"] = str(priority)
        self._mark_persistent(all_headers, persistent)
        check_destination(destination)
        check_headers(all_headers)
        return Message(destination, written.body, all_headers, content_type=content_type, ttl=ttl)

    def _send_simple(self, destination: str, payload: Hidden, confirm: bool, deadline: Deadline) -> str:
        """Send one message with no headers but those that every message has: the fast path of what most calls are.

        The same as `_message` and `_deliver` do, without building what is the same each time. Measured on CPython
        3.11: a quarter less time for a confirmed message.
        """
        serializer = self._serializer
        body = serializer.serialize(payload.value, destination=destination).body
        if type(body) is not bytes:
            hidden, body = SerializedPayload(body, serializer.content_type, {}), b""
            message = self._compose(destination, hidden)
            self._deliver([message], confirm, deadline)
            return typing.cast(str, message.id)
        content, body = memoryview(body), b""  # a traceback that shows locals must not show it
        content_type = serializer.content_type
        head = self._heads.of(destination, content_type)
        pid = os.getpid()
        ledger = self._ledgers.last
        if ledger.pid != pid:
            ledger = self._ledgers.own(pid)
        message_id = ledger.next_id()
        headers = {MESSAGE_ID: message_id, **self._common_headers}
        head = with_id(head, message_id.encode())
        try:
            self._outlet.deliver_one(destination, content, headers, content_type, head, confirm, deadline, pid)
        except BaseException as error:
            if isinstance(error, MessageError):
                _name_messages(error, [Message(destination, b"", headers)])
            ledger.failed(error, 1)
            raise
        if confirm:
            ledger.confirmed.add()
        else:
            ledger.unconfirmed.add()
        return message_id

    def _complete(self, message: Message, persistent: bool | None) -> Message:
        """*message* with its id and its persistence among the headers."""
        headers = {MESSAGE_ID: self._ledgers.own().next_id(), **self._option_headers}
        if message.content_type is not None:
            headers.pop("content-type", None)
        headers.update(message.headers or {})
        self._mark_persistent(headers, persistent)
        check_destination(message.destination)
        check_headers(headers)
        return dataclasses.replace(message, headers=headers)

    def _mark_persistent(self, headers: dict[str, str], persistent: bool | None) -> None:
        if persistent is False:
            headers.pop("persistent", None)
        elif persistent or self.options.persistent:
            headers.setdefault("persistent", "true")

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.options.timeout if timeout is None else timeout)

    def _deliver(self, messages: list[Message], confirm: bool | None, deadline: Deadline) -> None:
        confirm = self.options.confirm if confirm is None else confirm
        # Before anybody is told, and a connection is opened for it.
        heads: list[bytes] | None = check_messages(messages)
        observed = bool(self.observers)
        if observed:
            heads = None  # an observer may add headers
            for message in messages:
                self.observers.tell(
                    SendBegan(message.id or "", message.destination, _headers_of(message), _size_of(message))
                )
        began = time.monotonic()
        try:
            self._way_out().deliver(messages, confirm, deadline, heads)
        except BaseException as error:  # an interrupted send has an end, too
            if isinstance(error, MessageError):
                _name_messages(error, messages)
            self._ledgers.own().failed(error, len(messages))
            if observed:
                for position, message in enumerate(messages):
                    done = isinstance(error, MessageError) and position in error.confirmed
                    self._tell_end(message, None if done else error, confirm, time.monotonic() - began)
            raise
        self._ledgers.own().succeeded(len(messages), confirm)
        if observed:
            for message in messages:
                self._tell_end(message, None, confirm, time.monotonic() - began)

    def _way_out(self) -> typing.Any:
        if not detours:
            return self._outlet
        for detour in reversed(detours):
            outlet = detour(self)
            if outlet is not None:
                return outlet
        return self._outlet

    def _tell_end(self, message: Message, error: BaseException | None, confirm: bool, seconds: float) -> None:
        identity = message.id or ""
        self.observers.tell(
            SendSucceeded(identity, message.destination, confirm, seconds)
            if error is None
            else SendFailed(identity, message.destination, error, seconds)
        )


class Batch(Unpicklable):
    """Messages that are sent together. `Publisher.batch` makes it."""

    _instead = "deliver it, and make another one there"

    def __init__(self, publisher: Publisher, *, confirm: bool | None, timeout: float | None) -> None:
        self._publisher = publisher
        self._confirm = confirm
        self._timeout = timeout
        self._messages: list[Message] = []

    def send(
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
    ) -> str:
        """Add one message, written now, sent when the block ends; return its id. Arguments as of `Publisher.send`."""
        payload = Hidden(payload)
        message = self._publisher.prepare(
            destination,
            payload,
            headers,
            serializer=serializer,
            persistent=persistent,
            priority=priority,
            ttl=ttl,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
        self._messages.append(message)
        return typing.cast(str, message.id)

    def add(self, message: Message, *, serializer: str | None = None, persistent: bool | None = None) -> str:
        """Add a `Message`; its body is sent as it is if it is bytes-like or ``str``, and serialized otherwise."""
        if isinstance(message.body, bytes | bytearray | memoryview | str):
            message = self._publisher._complete(message, persistent)
            check_message(message)
            self._messages.append(message)
            return typing.cast(str, message.id)
        headers = dict(message.headers or {})
        if message.content_type is not None:
            headers["content-type"] = message.content_type
        return self.send(
            message.destination, message.body, headers, serializer=serializer, persistent=persistent, ttl=message.ttl
        )

    def __len__(self) -> int:
        return len(self._messages)

    def deliver(self) -> list[str]:
        """Send what was collected, and return the ids. Raises as `Publisher.send_many` does."""
        if self._publisher._blocks:
            warn_of_blocking("sending a batch", "asyncio.to_thread()")
        messages, self._messages = self._messages, []
        return self._publisher.deliver(messages, confirm=self._confirm, timeout=self._timeout)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if error is None:
            self.deliver()
        else:
            self._messages.clear()


def _name_messages(error: MessageError, messages: list[Message]) -> None:
    if error.destination is None and len(messages) == 1:
        error.args = (f"{messages[0].destination}: {error.args[0]}", *error.args[1:])
    name_messages(error, messages)


def _size_of(message: Message) -> int:
    body = message.body
    if isinstance(body, memoryview):
        return body.nbytes
    return len(body.encode() if isinstance(body, str) else body)


def _headers_of(message: Message) -> dict[str, str]:
    return typing.cast("dict[str, str]", message.headers)
