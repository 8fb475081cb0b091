"""An encoder that turns messages into SEND frames for the STOMP version and the broker of a session."""

from __future__ import annotations

import functools
import typing

from ..connection.dialect import Dialect
from ..protocol.encode import encode_head, encode_headers
from .message import Message, send_headers

__all__ = ["Encoder", "is_text"]

_LARGE = 65_536  # bytes; a body of this size or more is not copied


class Encoder:
    """An encoder of SEND frames. *version* is the STOMP version, and *dialect* describes the broker."""

    __slots__ = ("_dialect", "_ordinary", "_version")

    def __init__(self, version: str, dialect: Dialect) -> None:
        self._version = version
        self._dialect = dialect
        # Whether a SEND for this broker is written exactly as STOMP 1.2 says.
        self._ordinary = version == "1.2" and not (
            dialect.destination_types or dialect.text_without_length or dialect.duplicate_header
        )

    def encode(
        self, messages: typing.Sequence[Message], receipt: int | None = None, transaction: str | None = None
    ) -> tuple[bytes, typing.Sequence[bytes]]:
        """Return the encoded SEND frames of the prepared *messages*, and further parts to write afterwards.

        If there is only one message and its body has 64 KiB or more, the further parts are the body and the NUL. So a
        large body is not copied. In all other cases, there are no further parts.

        *receipt* is the receipt id of the first message. Each further message has the next number as its receipt id.
        *transaction* is an id from the client's `begin`, and needs no escapes. Raises `InvalidFrame` if the STOMP
        version cannot carry a message.
        """
        parts: list[bytes] = []
        for message in messages:
            head, content, _, _ = message.prepared
            size = len(content)
            if size >= _LARGE or message.ttl is not None or transaction is not None or not self._ordinary:
                head = self._for_this_broker(message, receipt, transaction)
                if size >= _LARGE and len(messages) == 1:
                    return head, (content, b"\0")
                parts += (head, content, b"\0")
                receipt = None if receipt is None else receipt + 1
            elif receipt is None:
                parts.append(b"%bcontent-length:%d\n\n%b\0" % (head, size, content))
            else:
                parts.append(b"%breceipt:%d\ncontent-length:%d\n\n%b\0" % (head, receipt, size, content))
                receipt += 1
        return b"".join(parts), ()

    def _for_this_broker(self, message: Message, receipt: int | None, transaction: str | None) -> bytes:
        """Return all bytes of the SEND frame before the body."""
        dialect = self._dialect
        head, content, content_type, headers = message.prepared
        name = dialect.expiry_header
        replaced = message.ttl is not None and name in headers  # an argument overrides a header
        if replaced:
            headers = {each: value for each, value in headers.items() if each != name}
        if replaced or not self._ordinary:
            head = self._head_for_this_broker(message, headers)
        if message.ttl is not None:
            head += f"{name}:{dialect.expiry_of(message.ttl)}\n".encode()
        if transaction is not None:
            head += b"transaction:%b\n" % transaction.encode()
        if receipt is not None:
            head += b"receipt:%d\n" % receipt
        if dialect.text_without_length and _is_sent_as_text(content, content_type):
            return head + b"\n"  # with a content-length, a JMS consumer would get the body as bytes
        return b"%bcontent-length:%d\n\n" % (head, len(content))

    def _head_for_this_broker(self, message: Message, headers: typing.Mapping[str, str]) -> bytes:
        """Return the command line and the header lines, including the headers that only this broker needs."""
        head, _, content_type, usual = message.prepared
        dialect, version = self._dialect, self._version
        if version != "1.2" or headers is not usual:
            head = encode_head("SEND", send_headers(message.destination, content_type, headers), version)
        added = {}
        if dialect.duplicate_header is not None and message.send_id is not None:
            added[dialect.duplicate_header] = message.send_id
        kind = dialect.sent_type(message.destination) if dialect.destination_types else None
        if kind is not None:
            added[kind[0]] = kind[1]
        # A header of the caller overrides one that is added for this broker.
        more = {name: value for name, value in added.items() if name not in headers}
        return head + encode_headers(more, "SEND", version) if more else head


def _is_sent_as_text(body: bytes, content_type: str | None) -> bool:
    """Return whether *content_type* is a type of text and *body* is UTF-8 without NUL."""
    if not is_text(content_type) or b"\0" in body:
        return False
    try:
        str(body, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(256)
def is_text(content_type: str | None) -> bool:
    """Return whether a body of this MIME type is text in UTF-8."""
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
