"""Outgoing messages and their routes. Preparing a message means checking and encoding it, without a connection.

A `Route` holds the encoded parts that messages share. An `Encoder` adds the parts that depend on the broker.
"""

from __future__ import annotations

import dataclasses
import functools
import typing

from .._internal.printable import short_repr
from ..config import read_seconds
from ..errors import InvalidFrame, InvalidFrameType
from ..protocol import Frame, commands
from ..protocol.commands import RESERVED_ON_SEND
from ..protocol.encode import encode_head, encode_headers

__all__ = [
    "MESSAGE_ID",
    "MOST_ROUTES",
    "Body",
    "Message",
    "Route",
    "as_batch",
    "bare_route",
    "bytes_of",
    "check_ttl",
    "make_ready",
    "message_id_of",
    "new_message",
    "prepare",
    "send_frame",
    "send_headers",
    "with_send_id",
]

Body = bytes | bytearray | memoryview | str
#: The header by which a receiver recognizes a message that came twice.
MESSAGE_ID: typing.Final = "x-message-id"
TEXT_PLAIN: typing.Final = "text/plain;charset=utf-8"
#: The longest time to live: 100 years in seconds. Brokers count milliseconds in 64 bits. Some brokers count from 1970.
LONGEST_TTL: typing.Final = 3_155_760_000.0
#: The parts of a message that are the same for every broker: the command line with the header lines (STOMP 1.2), the
#: body, the content type and the other headers.
Prepared = tuple[bytes, bytes, str | None, typing.Mapping[str, str]]
#: The largest number of routes in a cache.
MOST_ROUTES: typing.Final = 512
_LONGEST_KEPT = 2_048  # bytes of the header lines of one message


class Route:
    """The destination, the content type and the headers that many messages share.

    `encoded` is the command line and the header lines of the route in STOMP 1.2. The function *check* gets the headers
    that belong to one message and not to the route. To refuse these headers, *check* raises an exception. The
    constructor raises `InvalidFrame` if an argument is not valid in a SEND.
    """

    __slots__ = ("_check", "content_type", "destination", "encoded", "headers", "last")

    def __init__(
        self,
        destination: str,
        content_type: str | None,
        headers: dict[str, str] | None = None,
        check: typing.Callable[[typing.Mapping[str, str]], object] | None = None,
    ) -> None:
        self.destination = destination
        self.content_type = content_type
        self.headers = headers or {}
        self._check = check
        #: The own headers of the last message, and the encoded lines. The next message often has the same headers.
        self.last: tuple[typing.Mapping[str, str], bytes] = ({}, b"")
        self.encoded = encode_head("SEND", send_headers(destination, content_type, self.headers), "1.2")

    def lines_of(self, own: typing.Mapping[str, str]) -> tuple[typing.Mapping[str, str], bytes]:
        """Encode the header lines for *own*. Return a copy of *own*, and these lines.

        *own* contains the headers that one message adds to the headers of the route. Raises `InvalidFrame` if a header
        is not valid in a SEND. Raises the exception of *check* if *check* refuses the headers.
        """
        last = self.last
        if own == last[0]:
            return last
        if type(own) is not dict:
            send_headers(self.destination, None, own)  # raises, and says why
        own = dict(own)  # a copy, because another thread of the application may change the original
        if not RESERVED_ON_SEND.isdisjoint(own):
            send_headers(self.destination, None, own)
        if self._check is not None:
            self._check(own)
        lines = encode_headers(own, "SEND", "1.2")
        if len(lines) <= _LONGEST_KEPT:
            self.last = (own, lines)
        return own, lines


def send_headers(
    destination: str, content_type: str | None, headers: typing.Mapping[str, str] | None
) -> dict[str, str]:
    """Return the headers of a SEND. The `Encoder` adds more headers. Raises `InvalidFrame` for a forbidden header."""
    checked = commands.send(destination, b"", headers).headers
    # The order is the same for the standing headers of a route and for a message's own headers.
    return checked if content_type is None else {"destination": destination, "content-type": content_type, **checked}


#: Returns the route for a destination and a content type. A cache keeps the most recently used routes.
bare_route = functools.lru_cache(MOST_ROUTES)(Route)


class _Ready:
    """The slot for the prepared parts of a `Message`. The slot is not one of the fields of the dataclass `Message`."""

    __slots__ = ("prepared",)

    prepared: Prepared


@dataclasses.dataclass(slots=True, init=False, unsafe_hash=True)
class Message(_Ready):
    """One message for `PublishClient.send_many`.

    * `destination` - a destination, such as ``/queue/orders``.
    * `body` - bytes-like or ``str``. ``str`` is sent as UTF-8 with the content type ``text/plain;charset=utf-8``.
    * `headers` - more headers, a mapping of ``str`` to ``str``.
    * `content_type` - the body's MIME type.
    * `ttl` - the seconds that the message may wait, up to 3155760000 (100 years). ``None`` means no limit.
    * `send_id` - an id that all attempts to send this message share. Artemis keeps only one message with this id.
      ``None`` is right for a message that is sent only once.
    """

    destination: str
    body: Body = dataclasses.field(default=b"", repr=False)
    headers: typing.Mapping[str, str] | None = None
    _: dataclasses.KW_ONLY
    content_type: str | None = None
    ttl: float | None = None
    send_id: str | None = None

    def __init__(
        self,
        destination: str,
        body: Body = b"",
        headers: typing.Mapping[str, str] | None = None,
        *,
        content_type: str | None = None,
        ttl: float | None = None,
        send_id: str | None = None,
    ) -> None:
        if headers is not None and type(headers) is not dict and isinstance(headers, typing.Mapping):
            headers = dict(headers)  # the mapping may run code of the application: copy it once, here
        self.destination = destination
        self.body = body
        self.headers = headers
        self.content_type = content_type
        self.ttl = ttl
        self.send_id = send_id

    @property
    def id(self) -> str | None:
        """The value of the header ``x-message-id``, or ``None`` if the value is absent or empty."""
        return message_id_of(self.headers) if self.headers else None

    @property
    def content(self) -> bytes:
        """The bytes of the body. Only a prepared message has this property."""
        return self.prepared[1]


_NONE: typing.Final[typing.Mapping[str, str]] = {}
_new = object.__new__


def new_message(
    destination: str,
    body: Body,
    headers: dict[str, str] | None,
    content_type: str | None,
    ttl: float | None,
    prepared: Prepared,
) -> Message:
    """Return a `Message` with these attributes. In CPython 3.11, a call of ``Message()`` takes twice as long."""
    message = _new(Message)
    message.destination = destination
    message.body = body
    message.headers = headers
    message.content_type = content_type
    message.ttl = ttl
    message.send_id = None
    message.prepared = prepared  # type: ignore[misc]
    return message


def prepare(
    destination: str, body: Body, headers: typing.Mapping[str, str] | None, content_type: str | None, ttl: float | None
) -> Prepared:
    """Check and encode the parts of a message. Raises `InvalidFrame`. No connection is needed."""
    if type(body) is not bytes:
        if content_type is None and isinstance(body, str) and "content-type" not in (headers or ()):
            content_type = TEXT_PLAIN
        body = bytes_of(body, destination)
    try:
        route = bare_route(destination, content_type)
    except TypeError:  # an argument is not hashable, such as a list as the destination: `Route` refuses it
        route = Route(destination, content_type)
    if ttl is not None:
        check_ttl(ttl)
    if not headers:
        return route.encoded, body, content_type, _NONE
    same, lines = route.last
    if headers == same:
        return route.encoded + lines, body, content_type, same
    if isinstance(headers, typing.Mapping) and "content-type" in headers:
        stated = headers["content-type"]
        if content_type is not None and content_type != stated:
            raise InvalidFrame("content_type and the header 'content-type' contradict each other; give one of them")
        others = {name: value for name, value in headers.items() if name != "content-type"}
        return prepare(destination, body, others, stated, ttl)
    headers, lines = route.lines_of(headers)
    return route.encoded + lines, body, content_type, headers


def make_ready(message: Message) -> Message:
    """Check and encode the parts of *message*, store the result in *message*, and return *message*.

    Raises `InvalidFrame`.
    """
    message.prepared = prepare(  # type: ignore[misc]
        message.destination, message.body, message.headers, message.content_type, message.ttl
    )
    return message


def with_send_id(message: Message, send_id: str) -> Message:
    """Return a copy of the prepared *message* with *send_id*."""
    again = dataclasses.replace(message, send_id=send_id)
    again.prepared = message.prepared  # type: ignore[misc]
    return again


def as_batch(messages: typing.Iterable[Message]) -> tuple[Message, ...]:
    """Prepare *messages*, and return them. Raises `InvalidFrame`, or `TypeError` for an object that is no `Message`."""
    batch = tuple(messages)
    for position, message in enumerate(batch):
        if not isinstance(message, Message):
            raise TypeError(f"send_many takes Message objects; at position {position} is {type(message).__name__}")
        make_ready(message)
    return batch


def send_frame(message: Message) -> Frame:
    """Return the SEND frame of the prepared *message*, without the parts that depend on the broker."""
    _, content, content_type, headers = message.prepared
    return Frame("SEND", send_headers(message.destination, content_type, headers), content)


def message_id_of(headers: typing.Mapping[str, str]) -> str | None:
    """Return the value of ``x-message-id`` in *headers*, or ``None`` if the value is absent or empty."""
    message_id = headers.get(MESSAGE_ID)
    return message_id if isinstance(message_id, str) and message_id.strip() else None


def bytes_of(body: typing.Any, destination: str) -> bytes:
    """Return *body* as ``bytes``. Raises `InvalidFrame` if *body* is neither bytes-like nor a ``str``.

    Also raises `InvalidFrame` for a ``str`` that UTF-8 cannot encode. In this case, the error contains *destination*.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, str):
        try:
            return body.encode()
        except UnicodeEncodeError:
            raise InvalidFrame(f"the body for {destination!r} is a str that UTF-8 cannot carry") from None
    raise InvalidFrameType(
        f"the body must be bytes or str, not {type(body).__name__}; a Publisher takes other payloads"
    )


def check_ttl(ttl: object) -> None:
    """Raise `InvalidFrame` if *ttl* is not a number of seconds that brokers accept."""
    if type(ttl) is int and 0 < ttl <= LONGEST_TTL:
        return
    try:
        if read_seconds(ttl) <= LONGEST_TTL:
            return
        problem = "must be a number of seconds, at most 3155760000 (100 years)"
    except ValueError as error:
        problem = str(error)
    raise InvalidFrame(f"ttl {problem}, not {short_repr(ttl)}")
