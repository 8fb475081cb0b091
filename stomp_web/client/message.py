"""A message on its way out: where to, what, and with which headers; and the SEND frame that it becomes."""

from __future__ import annotations

import dataclasses
import functools
import typing

from .._internal.printable import short_repr
from ..config import read_seconds
from ..connection.dialect import Dialect
from ..errors import InvalidFrame, InvalidFrameType
from ..protocol import Frame, commands, encode
from .heads import MESSAGE_ID, head_of, message_id_of

__all__ = [
    "MESSAGE_ID",
    "Body",
    "Message",
    "as_batch",
    "check_message",
    "check_messages",
    "content_of",
    "encode_message",
    "frame_of",
    "join_frames",
    "length_line",
    "send_frame",
    "type_line",
    "type_of",
]

Body = bytes | bytearray | memoryview | str
TEXT_PLAIN: typing.Final = "text/plain;charset=utf-8"
#: The longest time to live, in seconds: a hundred years. Brokers count milliseconds in 64 bits, some from 1970 on.
LONGEST_TTL: typing.Final = 3_155_760_000.0
LARGE: typing.Final = 65_536  # bytes; a body of this size is written as it is, and not joined with its head first


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class Message:
    """One message for `PublishClient.send_many`.

    * `destination` - such as ``/queue/orders``.
    * `body` - bytes-like, or ``str``, which travels as UTF-8 with the content type ``text/plain;charset=utf-8``.
    * `headers` - more headers, ``str`` to ``str``.
    * `content_type` - the body's MIME type.
    * `ttl` - how many seconds the message may wait for a receiver, at most 3155760000 (100 years); ``None`` for ever.
    * `send_id` - what the repetitions of one send have in common, so that a broker that can (Artemis) drops all but
      one; ``None`` for a message that is not repeated.
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
            headers = dict(headers)  # code of the application's own, which is not to run where a lock is held
        # What a frozen dataclass makes by itself takes twice as long: batches are made of many messages.
        _set_destination(self, destination)
        _set_body(self, body)
        _set_headers(self, headers)
        _set_content_type(self, content_type)
        _set_ttl(self, ttl)
        _set_send_id(self, send_id)

    @property
    def id(self) -> str | None:
        """The ``x-message-id`` among the headers, if there is one that is not empty."""
        return message_id_of(self.headers) if self.headers else None


_set_destination, _set_body, _set_headers, _set_content_type, _set_ttl, _set_send_id = (
    vars(Message)[field.name].__set__ for field in dataclasses.fields(Message)
)


def send_frame(message: Message) -> Frame:
    """Return the SEND frame of *message*, as far as it is the same for every broker.

    Raises `InvalidFrame` for what no SEND may hold.
    """
    content_type = type_of(message.body, message.content_type, message.headers)
    frame = commands.send(message.destination, _bytes_of(message), message.headers)
    if content_type is not None:
        if frame.headers.get("content-type", content_type) != content_type:
            raise InvalidFrame("content_type and the header 'content-type' contradict each other; give one of them")
        frame.headers["content-type"] = content_type
    _check_ttl(message.ttl)
    return frame


def as_batch(messages: typing.Iterable[Message]) -> tuple[Message, ...]:
    """Return *messages* as they are to be sent together. Raises `TypeError`, naming the position of what is none."""
    batch = tuple(messages)
    for position, message in enumerate(batch):
        if not isinstance(message, Message):
            raise TypeError(f"send_many takes Message objects; at position {position} is {type(message).__name__}")
    return batch


def check_message(message: Message) -> bytes:
    """Return the head that *message* has in STOMP 1.2, which can carry the most.

    Raises `InvalidFrame` if no SEND can hold it.
    """
    # No local variable holds the body: a traceback that shows locals must not show it.
    if type(message.body) is not bytes:
        _bytes_of(message)
    if message.ttl is not None:
        _check_ttl(message.ttl)
    return head_of(message.destination, type_of(message.body, message.content_type, message.headers), message.headers)


def check_messages(messages: typing.Iterable[Message]) -> list[bytes]:
    """Return what `check_message` returns for each of *messages*.

    The messages of a batch often have one destination and the same headers: then it is encoded once.
    """
    heads: list[bytes] = []
    last, head = None, b""
    for message in messages:
        if (
            last is None
            or message.headers is not last.headers
            or message.destination != last.destination
            or message.content_type != last.content_type
            or type(message.body) is not type(last.body)
            or message.ttl is not None
        ):
            head = check_message(message)
            last = message if type(message.body) is bytes and message.ttl is None else None
        heads.append(head)
    return heads


def type_of(body: object, content_type: str | None, headers: typing.Mapping[str, str] | None) -> str | None:
    """The content type to be written for a message with this *content_type* and these *headers*."""
    if content_type is None and isinstance(body, str) and "content-type" not in (headers or ()):
        return TEXT_PLAIN
    return content_type


def content_of(message: Message) -> memoryview:
    """The body's bytes, as something that shows nothing of itself in a traceback. Raises `InvalidFrame`."""
    return memoryview(_bytes_of(message))


def encode_message(
    message: Message,
    head: bytes,
    dialect: Dialect,
    version: str,
    receipt: str | None = None,
    transaction: str | None = None,
) -> memoryview:
    """Return the bytes of the SEND for *message*, for which `check_message` has returned *head*.

    *receipt* and *transaction* are ids of ours, which need no escapes. Raises `InvalidFrame` if the version cannot
    carry it.
    """
    if message.ttl is not None or (message.send_id is not None and dialect.duplicate_header):
        return memoryview(_encode_send(message, send_frame(message), dialect, version, receipt, transaction))
    if version != "1.2":
        content_type = type_of(message.body, message.content_type, message.headers)
        head = head_of(message.destination, content_type, message.headers, version)
    if transaction is not None:
        head += b"transaction:%b\n" % transaction.encode()
    if receipt is not None:
        head += b"receipt:%b\n" % receipt.encode()
    content = content_of(message)
    lines = type_line(message.destination, message.headers, dialect)
    lines += length_line(
        content, type_of(message.body, message.content_type, message.headers), message.headers, dialect
    )
    return memoryview(b"%b%b\n%b\0" % (head, lines, content))  # type: ignore[str-format]


def join_frames(
    messages: typing.Sequence[Message], heads: typing.Sequence[bytes], receipts: typing.Iterable[str] | None
) -> bytes | None:
    """Return the SENDs of *messages* in STOMP 1.2, one behind the other: the fast path of a batch.

    For a broker without peculiarities. ``None`` if one of them has to go the way of `encode_message`.
    """
    parts: list[bytes] = []
    asked = iter(receipts) if receipts is not None else None
    length, tail = -1, b""
    for message, head in zip(messages, heads, strict=True):
        if type(message.body) is not bytes or message.ttl is not None:
            return None
        if len(message.body) != length:
            length = len(message.body)
            tail = b"content-length:%d\n\n" % length
        if asked is None:
            parts += (head, tail, message.body, b"\0")
        else:
            parts += (head, b"receipt:%b\n" % next(asked).encode(), tail, message.body, b"\0")
    return b"".join(parts)


def frame_of(
    head: bytes, content: memoryview, receipt: int | None, length: bytes | None = None
) -> tuple[memoryview, memoryview | None]:
    """Return the bytes of a SEND with this *head* (of `head_of`) and body; a large body stays apart.

    *receipt* is the number of the receipt to ask for; *length* is the `length_line`, if it is not that of any other
    broker. The second part, if it is not ``None``, is to be written behind the first, and a NUL behind that.
    """
    size = content.nbytes
    if length is None and size < LARGE:
        return small_frame_of(head, content, size, receipt), None
    if length is None:
        length = b"content-length:%d\n" % size
    if receipt is not None:
        length = b"receipt:%d\n%b" % (receipt, length)
    if size >= LARGE:  # it is not copied
        return memoryview(b"%b%b\n" % (head, length)), content
    return memoryview(b"%b%b\n%b\0" % (head, length, content)), None  # type: ignore[str-format]


def small_frame_of(head: bytes, content: memoryview, size: int, receipt: int | None) -> memoryview:
    """What `frame_of` returns for nearly all messages: for a body of less than `LARGE` bytes, of which *size* are."""
    if receipt is None:
        return memoryview(b"%bcontent-length:%d\n\n%b\0" % (head, size, content))  # type: ignore[str-format]
    return memoryview(b"%breceipt:%d\ncontent-length:%d\n\n%b\0" % (head, receipt, size, content))  # type: ignore[str-format]


def type_line(destination: str, headers: typing.Mapping[str, str] | None, dialect: Dialect) -> bytes:
    """The line that says what kind of *destination* it is; nothing where `Dialect.sent_type` or the caller says so."""
    kind = dialect.sent_type(destination)
    if kind is None or kind[0] in (headers or ()):
        return b""
    return b"%b:%b\n" % (kind[0].encode(), kind[1].encode())


def length_line(
    content: memoryview, content_type: str | None, headers: typing.Mapping[str, str] | None, dialect: Dialect
) -> bytes:
    """The ``content-length`` line for a body; nothing where `wants_content_length` says so."""
    if dialect.text_without_length:
        body_type = content_type if content_type is not None or headers is None else headers.get("content-type")
        if not wants_content_length(typing.cast(bytes, content.obj), body_type, dialect):
            return b""
    return b"content-length:%d\n" % content.nbytes


def _bytes_of(message: Message) -> bytes:
    # No local variable holds the body: a traceback that shows locals must not show it.
    if isinstance(message.body, bytes):
        return message.body
    if isinstance(message.body, bytearray | memoryview):
        return bytes(message.body)
    if isinstance(message.body, str):
        try:
            return message.body.encode()
        except UnicodeEncodeError:
            pass
        raise InvalidFrame(f"the body for {message.destination!r} is a str that UTF-8 cannot carry")
    raise InvalidFrameType(
        f"the body must be bytes or str, not {type(message.body).__name__}; a Publisher takes other payloads"
    )


def _check_ttl(ttl: object) -> None:
    if ttl is None:
        return
    try:
        if read_seconds(ttl) <= LONGEST_TTL:
            return
        problem = "must be a number of seconds, at most 3155760000 (100 years)"
    except ValueError as error:
        problem = str(error)
    raise InvalidFrame(f"ttl {problem}, not {short_repr(ttl)}")


def _encode_send(
    message: Message, frame: Frame, dialect: Dialect, version: str, receipt: str | None, transaction: str | None
) -> bytes:
    """The bytes of *frame*, the SEND of *message*, as the broker with this dialect wants them: the slow path."""
    if transaction is not None:
        frame.headers["transaction"] = transaction
    if receipt is not None:
        frame.headers["receipt"] = receipt
    if message.ttl is not None:
        frame.headers.update(dialect.expiry(message.ttl))
    if dialect.duplicate_header and message.send_id is not None:
        frame.headers.setdefault(dialect.duplicate_header, message.send_id)
    kind = dialect.sent_type(message.destination)
    if kind is not None:
        frame.headers.setdefault(*kind)
    return encode(
        frame, version, content_length=wants_content_length(frame.body, frame.headers.get("content-type"), dialect)
    )


def wants_content_length(body: bytes, content_type: str | None, dialect: Dialect) -> bool:
    """Whether a SEND with this *body* travels with a ``content-length``.

    Always, but for text to a broker that would hand it to a JMS consumer as bytes otherwise. Text is what its content
    type says is text in UTF-8 (JSON and XML count), what really is UTF-8, and has no NUL.
    """
    hidden, body = memoryview(body), b""  # a traceback that shows locals must not show it
    if not dialect.text_without_length or not is_text(content_type) or b"\0" in typing.cast(bytes, hidden.obj):
        return True
    try:
        str(hidden, "utf-8")
    except UnicodeDecodeError:
        return True
    return False


@functools.lru_cache(256)
def is_text(content_type: str | None) -> bool:
    """Whether a body of this MIME type is text in UTF-8."""
    if not content_type:
        return False
    mime, _, parameters = content_type.lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "').partition(";")[0]
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        return False
    mime = mime.strip()
    return (
        mime.startswith("text/") or mime in ("application/json", "application/xml") or mime.endswith(("+json", "+xml"))
    )
