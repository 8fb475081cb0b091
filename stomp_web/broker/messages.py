"""What a SEND frame becomes: a message with a number, a priority and perhaps an end of life.

Everything that the broker reads out of the headers of a SEND is read here, and refused here if it makes no sense.
"""

from __future__ import annotations

import time
import typing

from ..protocol import Frame
from ..protocol.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS
from ..protocol.versions import escape

if typing.TYPE_CHECKING:
    from .naming import Address

__all__ = ["Message", "Refused", "read_message", "whole_number"]

#: JMS counts priorities from 0 to 9 and sends with 4 where nothing is said; ActiveMQ does the same.
DEFAULT_PRIORITY = 4
HIGHEST_PRIORITY = 9

# Beside those of the sender a MESSAGE has a command and the headers destination, message-id, subscription, ack,
# redelivered and content-length. Subscription ids are short.
_OWN_HEADERS = 6
_OWN_HEADER_BYTES = 1_000

# Headers of SEND that are not part of the message, and headers of MESSAGE that only the broker may write.
_NOT_FORWARDED = frozenset(
    ("destination", "receipt", "transaction", "message-id", "subscription", "ack", "redelivered", "content-length")
)


class Refused(Exception):
    """The broker says no to a frame. Becomes an ERROR frame.

    `message` is the short description for the ``message`` header, `details` the sentence for the body. With
    `fatal` the connection is closed even if the broker keeps connections open after an ERROR.
    """

    def __init__(self, message: str, details: str, *, fatal: bool = False) -> None:
        super().__init__(details)
        self.message = message
        self.details = details
        self.fatal = fatal


class Message:
    """One message that the broker has, or will have once its transaction is committed.

    * `address` - where it goes; `destination` is the name of that.
    * `headers` - the sender's, ``content-length`` among them only if he sent it.
    * `expires` - seconds since the epoch after which it is not delivered; ``None``: never.
    * `number` and `id` - given when the broker accepts it: the number orders all messages of a broker.
    """

    __slots__ = ("address", "body", "destination", "expires", "headers", "id", "number", "priority")

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        body: bytes,
        priority: int = DEFAULT_PRIORITY,
        expires: float | None = None,
    ) -> None:
        self.address = address
        self.destination = address.name
        self.headers = headers
        self.body = body
        self.priority = priority
        self.expires = expires
        self.number = 0
        self.id = ""

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.body) + 1_000

    def expired(self, now: float) -> bool:
        """Whether it may no longer be delivered at the time *now*, in seconds since the epoch."""
        return self.expires is not None and self.expires <= now

    def frame(self) -> Frame:
        """Return it as the MESSAGE frame that any subscriber gets, without what belongs to one subscription."""
        return Frame("MESSAGE", {"destination": self.destination, "message-id": self.id, **self.headers}, self.body)


def read_message(send: Frame, address: Address) -> Message:
    """Return the message in the SEND frame *send*, which goes to *address*.

    ``expires`` is a time in milliseconds since the epoch, as ActiveMQ has it; ``expiration`` is a time to live in
    milliseconds, as RabbitMQ has it; 0 means never in the first, at once in the second. ``priority`` is a
    number, cut to 0-9. Raises `Refused` if one of them is no number.
    """
    wanted = send.headers
    headers = {name: value for name, value in wanted.items() if name not in _NOT_FORWARDED}
    # A body sent without content-length comes back without it, as from ActiveMQ (5.17: a text message).
    if "content-length" in wanted:
        headers["content-length"] = str(len(send.body))
    priority = min(whole_number(wanted, "priority", DEFAULT_PRIORITY), HIGHEST_PRIORITY)
    message = Message(address, headers, send.body, priority, _end_of_life(wanted))
    _check_readable(message)
    return message


def _check_readable(message: Message) -> None:
    """Refuse a message whose MESSAGE frame exceeds what clients take, in any version and for any subscription.

    Here the sender hears of it. RabbitMQ and ActiveMQ take such a message, and its receivers get a part of it.
    """
    lines = [f"{name}:{value}\n" for name, value in (*message.headers.items(), ("destination", message.destination))]
    size = sum(map(len, lines)) * 4  # bytes of a character at the most
    if size > MAX_HEADER_BYTES - _OWN_HEADER_BYTES:  # few have so much that it must be counted exactly
        size = sum(len(escape(line, "1.2").encode()) for line in lines)
    size += _OWN_HEADER_BYTES
    count = _OWN_HEADERS + len(message.headers)
    for what, found, most in (
        ("bytes of headers", size, MAX_HEADER_BYTES),
        ("headers", count, MAX_HEADERS),
        ("bytes of body", len(message.body), MAX_BODY_BYTES),
    ):
        if found > most:
            raise Refused("Message too large", f"it has about {found} {what}, and receivers take {most} at the most")


def whole_number(headers: dict[str, str], name: str, default: int) -> int:
    """Return the number in the header *name*, or *default* if there is none. Raises `Refused` if it is no number."""
    text = headers.get(name)
    if text is None:
        return default
    text = text.strip(" ")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise Refused("Invalid header", f"the header {name!r} must be a whole number, not {text[:40]!r}")
    return int(text)


def _end_of_life(headers: dict[str, str]) -> float | None:
    ends = []
    expires = whole_number(headers, "expires", 0)
    if expires:
        ends.append(expires / 1000)
    if "expiration" in headers:
        ends.append(time.time() + whole_number(headers, "expiration", 0) / 1000)
    return min(ends, default=None)
