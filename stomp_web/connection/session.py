"""One STOMP session: what exists from CONNECTED until the connection ends, and never before.

A session owns its transport and its frame buffer. It is never revived: a new connection is a new session, and so a
SEND without a CONNECT before it cannot be written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import typing

from ..errors import AuthenticationFailed, BrokerUnavailable, MessageError, ProtocolError
from ..protocol import VERSIONS, Frame, FrameBuffer, commands, encode, negotiate_heart_beat, parse_heart_beat
from .address import Endpoint
from .deadline import Deadline
from .dialect import choose_dialect
from .transport import Transport, TransportClosed, TransportError, TransportTimeout

if typing.TYPE_CHECKING:
    import ssl

__all__ = ["Session", "SessionSettings"]

# How brokers say that credentials or the virtual host are at fault (RabbitMQ 3.10: "Access refused for user", "Virtual
# host 'x' access denied", "Missing login or passcode header(s)"; ActiveMQ 5.17: "User name [x] or password is invalid";
# CoilMQ 1.1: "Authentication failed for x", "Virtual hosting is not supported or host is unknown").
_AUTHENTICATION_WORDS = (
    "access", "authenticat", "authoriz", "credential", "denied", "login", "passcode", "password", "security",
    "unable to validate user", "user name", "username", "virtual host",
)  # fmt: skip

# RECEIPT frames for ids of ours, and nothing else; of RabbitMQ and ActiveMQ with a line end behind each.
_RECEIPT = re.compile(rb"RECEIPT\nreceipt-id:(\d+)\n\n\0\n?")
_RECEIPTS = re.compile(rb"(?:RECEIPT\nreceipt-id:\d+\n\n\0\n?)+")
_LONG_RECEIPT = 256  # bytes: more than any RECEIPT for an id of ours has
_LONGEST_LOOK = 65_536  # bytes that are taken in to see whether the connection has ended
_MOST_UNASKED = 2_097_152  # bytes that are taken in to see what has come unasked; an ERROR may have a body of 1 MiB
_MOST_UNREAD = 16_777_216  # bytes that are taken in while we write


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What a CONNECT is made of, and the limits on what the broker may make us keep."""

    login: str | None = None
    passcode: str | None = dataclasses.field(default=None, repr=False)
    vhost: str | None = None
    versions: tuple[str, ...] = VERSIONS
    heart_beat: tuple[int, int] = (0, 0)
    headers: typing.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    max_header_bytes: int = 65_536
    max_headers: int = 1_000
    max_body_bytes: int = 1_048_576
    tolerant: bool = False

    def connect_frame(self) -> Frame:
        """The CONNECT frame. Without a virtual host, ``host`` is ``/``, which RabbitMQ, ActiveMQ and Artemis take."""
        return commands.connect(
            accept_version=self.versions,
            host="/" if self.vhost is None else self.vhost,
            login=self.login,
            passcode=self.passcode,
            heart_beat=self.heart_beat,
            headers=self.headers,
        )


class Session:
    """An open session with one broker.

    * `broker` - the address, such as ``stomp://localhost:61613``.
    * `connected_frame` - the CONNECTED frame; `version`, `server`, `id` and `dialect` come from it.
    * `heart_beat` - what was agreed, in milliseconds: (we send, they send), 0 for never.
    """

    __slots__ = (
        "_buffer",
        "_peeked",
        "_receive_soon",
        "_transport",
        "all_read",
        "broker",
        "bytes_received",
        "connected_frame",
        "dialect",
        "heart_beat",
        "id",
        "pid",
        "plain",
        "server",
        "version",
        "write_some",
    )

    def __init__(self, transport: Transport, broker: str, settings: SessionSettings, deadline: Deadline) -> None:
        self._transport = transport
        #: Sends what is taken at once of some bytes, and returns how many that was. Raises `TransportClosed`.
        self.write_some = transport.send_some
        self._receive_soon = transport.receive_soon
        self._buffer = FrameBuffer(
            max_header_bytes=settings.max_header_bytes,
            max_headers=settings.max_headers,
            max_body_bytes=settings.max_body_bytes,
        )
        self._peeked: Frame | None = None  # taken out of the buffer by a look, and not read yet
        self.broker = broker
        #: How many bytes have arrived, heart-beats included.
        self.bytes_received = 0
        #: Whether nothing that has come is left to be read, as far as was looked. False: something may wait.
        self.all_read = False
        #: The process that opened the session; in a forked child it must not be used.
        self.pid = os.getpid()
        self.write(memoryview(encode(settings.connect_frame())), deadline)
        frame = self.read_frame(deadline)
        if frame.command == "ERROR":
            raise _connect_refused(frame, broker, settings)
        if frame.command != "CONNECTED":
            raise TransportClosed(f"the answer to CONNECT was a {frame.command} frame")
        self.connected_frame = frame
        # A server of version 1.0 sends no version header.
        self.version = frame.headers.get("version", "1.0")
        if self.version not in settings.versions:
            raise TransportClosed(
                f"the broker chose STOMP {self.version!r}, which was not offered ({', '.join(settings.versions)})"
            )
        self._buffer.version = self.version
        # What others have written into a message must not end the session in which it comes.
        self._buffer.tolerant = settings.tolerant
        self.server = frame.headers.get("server")
        self.id = frame.headers.get("session")
        self.dialect = choose_dialect(self.server)
        #: Whether a SEND is written for this broker as STOMP 1.2 says, and nothing else is to be thought of.
        self.plain = self.version == "1.2" and not (self.dialect.sent_types or self.dialect.text_without_length)
        self.heart_beat = negotiate_heart_beat(settings.heart_beat, parse_heart_beat(frame.headers.get("heart-beat")))

    @classmethod
    def open(cls, endpoint: Endpoint, settings: SessionSettings, deadline: Deadline) -> Session:
        """Connect to *endpoint*, send CONNECT, and return the session once CONNECTED was read.

        Raises `AuthenticationFailed` or `BrokerUnavailable`, with the broker's own words where it sent any.
        """
        broker = f"{'stomp' if settings.tls is None else 'stomp+ssl'}://{endpoint}"
        try:
            transport = Transport.open(endpoint, settings.tls, deadline)
            try:
                return cls(transport, broker, settings, deadline)
            except BaseException:
                transport.close()
                raise
        except TransportTimeout as error:
            unavailable = BrokerUnavailable(
                f"no session with {broker} within {deadline.seconds:.3g} s: {error}; nothing was sent. "
                "Is it a STOMP port, and is the broker up?",
                broker=broker,
            )
            unavailable.timed_out = True
            raise unavailable from error
        except (TransportError, ProtocolError) as error:
            hint = "Is a broker with STOMP running there?"
            if isinstance(error, ProtocolError) and settings.tls is None:
                hint += " If the port speaks TLS, begin the address with stomp+ssl://"
            if "WRONG_VERSION_NUMBER" in str(error):  # what OpenSSL says of anything but TLS
                hint = "The port does not seem to speak TLS; without it, the address begins with stomp://"
            raise BrokerUnavailable(
                f"cannot open a session with {broker}: {error}; nothing was sent. {hint}", broker=broker
            ) from error

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._transport.fileno()

    @property
    def bytes_sent(self) -> int:
        """How many bytes were handed to the operating system since the connection was opened."""
        return self._transport.bytes_sent

    def wait(self, seconds: float | None, *, write: bool = False, read: bool = True, wake: int | None = None) -> bool:
        """Wait until bytes arrive, or (*write*) can leave, or the descriptor *wake* can be read."""
        return self._transport.wait_seconds(seconds, read=read, write=write, wake=wake)

    def next_is_receipt(self, receipt: int) -> bool:
        """Wait a few milliseconds for an answer; whether it is the RECEIPT with this id, one of ours, and nothing else.

        The fast path of a confirmed message: bytes are compared, not parsed. Of anything else nothing is lost: what
        came, or has yet to come, waits to be read as frames. Raises `TransportClosed`.
        """
        if not self.all_read:
            return False
        data = self._receive_soon(_LONG_RECEIPT)
        if not data:
            if data is not None:
                raise TransportClosed("the broker closed the connection")
            return False
        self.bytes_received += len(data)
        expected = b"RECEIPT\nreceipt-id:%d\n\n\0" % receipt
        if data == expected or (data.startswith(expected) and data[len(expected) :] == b"\n"):
            return True
        self._buffer.append(data)
        self.all_read = False
        return False

    def next_receipts(self, deadline: Deadline) -> list[str]:
        """Wait for an answer, and return the ids of the RECEIPT frames that it consists of, if it is nothing else.

        The fast path of a batch, as `next_is_receipt` is that of one message. An empty list says nothing but that what
        came, if anything came, is to be read as frames. Raises `TransportClosed`.
        """
        if self._buffer or not self._take_in(deadline):
            return []
        return [receipt.decode() for receipt in self._buffer.take_matches(_RECEIPTS, _RECEIPT)]

    def write_large(self, parts: typing.Sequence[memoryview], deadline: Deadline) -> None:
        """Send all *parts*, one after the other, without joining them. As `write` otherwise."""
        rest = list(parts)
        while True:
            sent = self._transport.send_parts(rest)
            while rest and sent >= rest[0].nbytes:
                sent -= rest.pop(0).nbytes
            if not rest:
                return
            if sent:
                rest[0] = rest[0][sent:]
            else:
                self._wait_to_write(deadline)

    def write(self, data: memoryview, deadline: Deadline) -> None:
        """Send all of *data*.

        While the broker does not read, what it sends is taken in: two sides that both only write would wait for
        each other for ever. Raises `TransportTimeout` or `TransportClosed`.
        """
        transport = self._transport
        sent = transport.send_some(data)
        if sent == len(data):
            return
        rest = data[sent:]
        while True:
            sent = transport.send_some(rest)
            rest = rest[sent:]
            if not rest:
                return
            if not sent:
                self._wait_to_write(deadline)

    def _wait_to_write(self, deadline: Deadline) -> None:
        room = len(self._buffer) < _MOST_UNREAD
        # The clock is asked, too: a broker that sends without end always has something to read.
        if deadline.expired or not self._transport.wait(deadline, read=room, write=True):
            raise TransportTimeout("the broker did not take the bytes in time")
        if room:
            self._take_in()

    @property
    def stuck(self) -> bool:
        """Whether a part of what was to be written last is on its way and cannot be called back. See `Transport`."""
        return self._transport.stuck

    def read_frame(self, deadline: Deadline) -> Frame:
        """Return the next frame. Raises `TransportTimeout`, `TransportClosed` or `ProtocolError`."""
        late = False
        while True:
            frame = self._buffer.extract_frame()
            if frame is not None:
                return frame
            if late:  # bytes may come for ever and never be a frame
                raise TransportTimeout("the broker did not answer in time")
            late = deadline.expired
            if not self._take_in() and not self._take_in(deadline):
                raise TransportTimeout("the broker did not answer in time")

    def all_ready(self) -> typing.Iterator[Frame]:
        """The frames that have arrived already, without waiting.

        Raises `TransportClosed` if the broker has ended the connection, or `ProtocolError`. Nobody has asked for these
        frames, so that there are few: after 2 MiB, `TransportClosed` is raised, too.
        """
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            yield peeked
        most = self.bytes_received + _MOST_UNASKED
        while True:
            yield from self._buffer
            if not self._take_in():
                return
            if self.bytes_received > most:
                raise TransportClosed("the broker sends without being asked, and without end")

    def read_some(self, most: int) -> list[Frame]:
        """Return frames that have arrived already, *most* at the most; never wait. Raises as `all_ready` does.

        It reads from the socket once, if no frame is there, so that what it returns is no more than fits into one read.
        Frames that stand before a malformed one are returned first; the next call raises `ProtocolError`.
        """
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            return [peeked]
        frames = self._cut(most)
        if not frames and self._take_in():
            frames = self._cut(most)
        return frames

    def _cut(self, most: int) -> list[Frame]:
        frames: list[Frame] = []
        try:
            frames.extend(itertools.islice(self._buffer, most))  # what was taken out before an exception is kept
        except ProtocolError:
            if not frames:
                raise
        return frames

    def nothing_new(self) -> bool:
        """Whether the connection is open, and nothing has come that was not read. ``False`` may mean: not known."""
        if (not self.all_read and self._unread) or not self._transport.nothing_new(self.bytes_received):
            return False
        self.all_read = True
        return True

    @property
    def _unread(self) -> bool:
        """Whether something was taken in that nobody has read; it may be a part of a frame."""
        return self._peeked is not None or bool(self._buffer)

    def ended(self) -> bool:
        """Whether the broker has ended the connection, and no frame that came before is left to be read.

        It takes in what has arrived, up to a limit, and does not wait.
        """
        if self._peeked is not None:
            return False
        try:
            while len(self._buffer) < _LONGEST_LOOK:
                if not self._take_in():
                    return False
        except TransportError:
            with contextlib.suppress(ProtocolError):  # that is told to the one who reads
                self._peeked = self._buffer.extract_frame()
            return self._peeked is None
        return False

    def _take_in(self, deadline: Deadline | None = None) -> bool:
        """Move the bytes that have arrived into the buffer; return whether there were any. Wait until *deadline*."""
        data = self._transport.receive_some() if deadline is None else self._transport.receive(deadline)
        if data is None:
            self.all_read = not self._unread
            return False
        if not data:
            raise TransportClosed("the broker closed the connection")
        self._buffer.append(data)
        self.bytes_received += len(data)
        self.all_read = False  # whatever it is, it is to be read before anything else is believed
        return True

    def close(self) -> None:
        """Close the connection, sending nothing. May be called again."""
        self._transport.close()


def _connect_refused(frame: Frame, broker: str, settings: SessionSettings) -> MessageError:
    """The exception for an ERROR in answer to CONNECT."""
    words = error_words(frame)
    lower = words.lower()
    if any(word in lower for word in _AUTHENTICATION_WORDS):
        who = "without a login" if settings.login is None else f"as {settings.login!r}"
        where = "/" if settings.vhost is None else settings.vhost
        return AuthenticationFailed(
            f"{broker} refused the session {who} on the virtual host {where!r}: {words}. "
            "Nothing was sent. Check login, passcode and virtual host; no other broker was tried.",
            broker=broker,
            frame=frame,
        )
    return BrokerUnavailable(f"{broker} refused the session: {words}. Nothing was sent.", broker=broker, frame=frame)


def error_words(frame: Frame) -> str:
    """What an ERROR frame says, in one line: its ``message`` and, where it adds to it, its body's first line.

    It has no full stop at its end, as it becomes a part of a sentence (ActiveMQ 5.17 sends one). A body may be a Java
    stack trace (ActiveMQ 5.17); only its first line is taken. Or an Erlang term over several lines,
    of which the first ends with a comma (RabbitMQ 3.10, "AMQP channel died"); that is taken whole.
    """
    message = frame.headers.get("message", "").strip().rstrip(" .,;:")
    lines = frame.body.decode("utf-8", "replace").strip().splitlines()
    first = lines[0].strip() if lines else ""
    if first.endswith(","):
        first = " ".join(" ".join(lines).split())
    first = first[:300].rstrip(" .,:;")
    if not first or first == message or first.endswith(f"Exception: {message}"):
        return message or "the broker gave no reason"
    if message and first.startswith(message):
        return first
    return f"{message}: {first}" if message else first
