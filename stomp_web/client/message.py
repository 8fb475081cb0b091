"""A message on its way out: where to, what, and with which headers; and the SEND frame that it becomes."""

from __future__ import annotations

import dataclasses
import math
import typing

from ..errors import InvalidFrame, InvalidFrameType
from ..protocol import Frame, commands, encode
from .dialect import Dialect
from .heads import MESSAGE_ID, head_of

__all__ = [
    "MESSAGE_ID",
    "Body",
    "Message",
    "as_batch",
    "check_message",
    "content_of",
    "encode_message",
    "frame_of",
    "join_frames",
    "send_frame",
    "type_of",
]

Body = bytes | bytearray | memoryview | str
TEXT_PLAIN: typing.Final = "text/plain;charset=utf-8"
LARGE: typing.Final = 65_536  # bytes; a body of this size is written as it is, and not joined with its head first


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message for `PublishClient.send_many`.

    * `destination` - such as ``/queue/orders``.
    * `body` - bytes-like, or ``str``, which travels as UTF-8 with the content type ``text/plain;charset=utf-8``.
    * `headers` - more headers, ``str`` to ``str``.
    * `content_type` - the body's MIME type.
    * `ttl` - how many seconds the message may wait for a receiver; ``None`` for ever.
    """

    destination: str
    body: Body = dataclasses.field(default=b"", repr=False)
    headers: typing.Mapping[str, str] | None = None
    _: dataclasses.KW_ONLY
    content_type: str | None = None
    ttl: float | None = None

    @property
    def id(self) -> str | None:
        """The ``x-message-id`` among the headers, if there is one."""
        return self.headers.get(MESSAGE_ID) if self.headers else None


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
    if message.ttl is not None and not _is_duration(message.ttl):
        raise InvalidFrame(f"ttl must be a number of seconds greater than 0, not {message.ttl!r}")
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
    if message.ttl is not None and not _is_duration(message.ttl):
        raise InvalidFrame(f"ttl must be a number of seconds greater than 0, not {message.ttl!r}")
    return head_of(message.destination, type_of(message.body, message.content_type, message.headers), message.headers)


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
    if message.ttl is not None or dialect.duplicate_header or dialect.text_without_length:
        return memoryview(_encode_send(message, send_frame(message), dialect, version, receipt, transaction))
    if version != "1.2":
        content_type = type_of(message.body, message.content_type, message.headers)
        head = head_of(message.destination, content_type, message.headers, version)
    if transaction is not None:
        head += b"transaction:%b\n" % transaction.encode()
    if receipt is not None:
        head += b"receipt:%b\n" % receipt.encode()
    content = memoryview(_bytes_of(message))
    return memoryview(b"%bcontent-length:%d\n\n%b\0" % (head, content.nbytes, content))  # type: ignore[str-format]


def join_frames(
    messages: typing.Sequence[Message], heads: typing.Sequence[bytes], receipts: typing.Iterable[str] | None
) -> bytes | None:
    """Return the SENDs of *messages* in STOMP 1.2, one behind the other: the fast path of a batch.

    For a broker without peculiarities. ``None`` if one of them has to go the way of `encode_message`.
    """
    parts: list[bytes] = []
    asked = iter(receipts) if receipts is not None else None
    for message, head in zip(messages, heads, strict=True):
        if type(message.body) is not bytes or message.ttl is not None:
            return None
        if asked is None:
            parts += (head, b"content-length:%d\n\n" % len(message.body), message.body, b"\0")
        else:
            tail = b"receipt:%b\ncontent-length:%d\n\n" % (next(asked).encode(), len(message.body))
            parts += (head, tail, message.body, b"\0")
    return b"".join(parts)


def frame_of(head: bytes, content: memoryview, receipt: int | None) -> tuple[memoryview, memoryview | None]:
    """Return the bytes of a SEND with this *head* (of `head_of`) and body; a large body stays apart.

    *receipt* is the number of the receipt to ask for. The second, if it is not ``None``, is to be written behind the
    first, and a NUL behind that.
    """
    length = content.nbytes
    if length >= LARGE:  # it is not copied
        asked = b"" if receipt is None else b"receipt:%d\n" % receipt
        return memoryview(b"%b%bcontent-length:%d\n\n" % (head, asked, length)), content
    if receipt is None:
        data = b"%bcontent-length:%d\n\n%b\0" % (head, length, content)  # type: ignore[str-format]
    else:
        data = b"%breceipt:%d\ncontent-length:%d\n\n%b\0" % (head, receipt, length, content)  # type: ignore[str-format]
    return memoryview(data), None


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


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


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
    if dialect.duplicate_header and message.id:
        frame.headers.setdefault(dialect.duplicate_header, message.id)
    return encode(frame, version, content_length=wants_content_length(frame, dialect))


def wants_content_length(frame: Frame, dialect: Dialect) -> bool:
    """Whether *frame*, a SEND, travels with a ``content-length``.

    Always, but for text to a broker that would hand it to a JMS consumer as bytes otherwise. Text is what its content
    type says is text in UTF-8 (JSON and XML count), what really is UTF-8, and has no NUL.
    """
    if not dialect.text_without_length or not is_text(frame.headers.get("content-type")) or b"\0" in frame.body:
        return True
    try:
        frame.body.decode()
    except UnicodeDecodeError:
        return True
    return False


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
