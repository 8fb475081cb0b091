"""The broker's messages, and the journal of accepted messages."""

from __future__ import annotations

import collections
import dataclasses
import time
import typing

from .._internal.log import get_logger
from .._internal.notices import Notices
from ..protocol import Frame
from ..protocol.buffer import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS
from ..protocol.versions import escape
from .naming import Address, Refused

__all__ = ["NOT_FORWARDED", "Journal", "Message", "log", "notices", "read_message", "whole_number"]

# The broker's thread calls the log's handlers, without a lock, at the end of a round. If a handler sends a confirmed
# message to this broker, the thread waits for itself until the timeout.
log: typing.Final = get_logger("broker")
#: The unpublished log records of all brokers in the process. A loop publishes them at the end of a round.
notices: typing.Final = Notices()

#: The default and the highest priority of JMS and ActiveMQ.
DEFAULT_PRIORITY = 4
HIGHEST_PRIORITY = 9

# The broker adds these headers: destination, message-id, subscription, ack, redelivered and content-length.
_OWN_HEADERS = 6
_OWN_HEADER_BYTES = 1_000

# Headers of SEND that are not part of the message, and headers of MESSAGE that only the broker may write.
NOT_FORWARDED = frozenset(
    ("destination", "receipt", "transaction", "message-id", "subscription", "ack", "redelivered", "content-length")
)


@dataclasses.dataclass(eq=False, slots=True)
class Message:
    """A message that the broker has accepted, or will accept at COMMIT.

    * `headers` - the sender's headers that subscribers get. ``content-length`` is included only if the sender wrote it.
    * `expires` - when the message expires, in seconds since the epoch. ``None`` means never.
    * `number`, `id` - values that the broker sets when it accepts the message. `number` orders the broker's messages.
    """

    address: Address
    headers: dict[str, str]
    body: bytes
    priority: int = DEFAULT_PRIORITY
    expires: float | None = None
    number: int = 0
    id: str = ""

    @property
    def destination(self) -> str:
        """The destination that a MESSAGE frame contains: the attribute `name` of `address`."""
        return self.address.name

    @property
    def size(self) -> int:
        """The approximate size in memory, in bytes."""
        return len(self.body) + 1_000

    def expired(self, now: float) -> bool:
        """Return whether the message has expired at the time *now*. *now* is in seconds since the epoch."""
        return self.expires is not None and self.expires <= now

    def frame(self) -> Frame:
        """Return the MESSAGE frame without the headers that depend on the subscription."""
        return Frame("MESSAGE", {"destination": self.destination, "message-id": self.id, **self.headers}, self.body)


class Journal:
    """The history for tests: accepted messages in order, and counts of frames and connections.

    If the messages exceed *limit* bytes, the journal forgets the oldest messages.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.connections_accepted = 0
        #: The number of received frames by command.
        self.frames: collections.Counter[str] = collections.Counter()
        #: The latest CONNECT frames, with ``***`` for the passcode.
        self.connects: collections.deque[Frame] = collections.deque(maxlen=1_000)
        #: How many messages a destination has accepted, forgotten ones included. The first destination comes first.
        self.accepted: collections.Counter[str] = collections.Counter()
        #: Functions that get each accepted message, under the lock of the state. They must be fast.
        self.watchers: list[typing.Callable[[Message], None]] = []
        self._all: collections.deque[Message] = collections.deque()
        self._by_destination: dict[str, collections.deque[Message]] = {}
        self._size = 0

    def add(self, message: Message) -> None:
        """Record *message*, which the broker has accepted."""
        self.accepted[message.destination] += 1
        self._all.append(message)
        self._by_destination.setdefault(message.destination, collections.deque()).append(message)
        self._size += message.size
        while self._size > self.limit:
            oldest = self._all.popleft()
            self._by_destination[oldest.destination].popleft()
            self._size -= oldest.size
        for watch in self.watchers:
            watch(message)

    def messages(self, destination: str) -> list[Message]:
        """Return all accepted messages of *destination*, in order.

        Raises `LookupError` if the journal has already dropped the oldest of these messages.
        """
        kept = self._by_destination.get(destination, ())
        forgotten = self.accepted[destination] - len(kept)
        if forgotten:
            raise LookupError(
                f"the oldest {forgotten} messages of {destination!r} are forgotten, because all messages together "
                f"exceed {self.limit} bytes; give the broker a larger history="
            )
        return list(kept)

    def connected(self, connect: Frame) -> None:
        """Record a CONNECT frame without its passcode."""
        headers = {name: "***" if name == "passcode" else value for name, value in connect.headers.items()}
        self.connects.append(Frame(connect.command, headers))

    def clear(self) -> None:
        """Forget all messages and frames. The count of connections stays."""
        self.frames.clear()
        self.connects.clear()
        self.accepted.clear()
        self._all.clear()
        self._by_destination.clear()
        self._size = 0


def read_message(send: Frame, address: Address) -> Message:
    """Return the message in the SEND frame *send*, whose destination is *address*.

    The header ``expires`` is a time in milliseconds since the epoch, as in ActiveMQ. 0 means that the message never
    expires. The header ``expiration`` is a time to live in milliseconds, as in RabbitMQ. With 0, the message expires at
    once. A ``priority`` above 9 counts as 9. Raises `Refused` if a number is invalid or the message is too large.
    """
    wanted = send.headers
    headers = {name: value for name, value in wanted.items() if name not in NOT_FORWARDED}
    # A SEND without content-length is delivered without content-length. In ActiveMQ 5.17 it is a text message.
    if "content-length" in wanted:
        headers["content-length"] = str(len(send.body))
    priority = min(whole_number(wanted, "priority", DEFAULT_PRIORITY), HIGHEST_PRIORITY)
    expires = whole_number(wanted, "expires", 0)
    ends = [expires / 1000] if expires else []
    if "expiration" in wanted:
        ends.append(time.time() + whole_number(wanted, "expiration", 0) / 1000)
    message = Message(address, headers, send.body, priority, min(ends, default=None))
    _check_readable(message)
    return message


def _check_readable(message: Message) -> None:
    """Raise `Refused` if *message* exceeds the default limits of stomp-web's clients.

    RabbitMQ and ActiveMQ would accept a message over these limits, but the clients would truncate the message.
    """
    lines = [f"{name}:{value}\n" for name, value in (*message.headers.items(), ("destination", message.destination))]
    size = sum(map(len, lines)) * 4  # a character has at most 4 bytes
    if size > MAX_HEADER_BYTES - _OWN_HEADER_BYTES:  # count exactly only near the limit
        size = sum(len(escape(line, "1.2").encode()) for line in lines)
    for what, found, limit in (
        ("bytes of headers", size + _OWN_HEADER_BYTES, MAX_HEADER_BYTES),
        ("headers", len(message.headers) + _OWN_HEADERS, MAX_HEADERS),
        ("bytes of body", len(message.body), MAX_BODY_BYTES),
    ):
        if found > limit:
            raise Refused("Message too large", f"it has about {found} {what}, and receivers take {limit} at the most")


def whole_number(headers: dict[str, str], name: str, default: int) -> int:
    """Return the value of the header *name* as an ``int``, or *default* if *headers* does not contain the header.

    Raises `Refused` if the value is not a whole number, or has more than 20 digits.
    """
    text = headers.get(name)
    if text is None:
        return default
    text = text.strip(" ")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise Refused("Invalid header", f"the header {name!r} must be a whole number, not {text[:40]!r}")
    return int(text)
