"""One STOMP session, from CONNECTED until the connection ends.

A session is never revived: a new connection is a new session, so that no SEND can be written before a CONNECT.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import struct
import time
import typing

from ..errors import AuthenticationFailed, BrokerUnavailable, MessageError, ProtocolError
from ..protocol import VERSIONS, Frame, FrameBuffer, commands, encode, negotiate_heart_beat, parse_heart_beat
from .address import Endpoint
from .deadline import Deadline
from .dialect import choose_dialect
from .transport import ESTABLISHED, Transport, TransportClosed, TransportError, TransportTimeout, unpack_info

if typing.TYPE_CHECKING:
    import ssl

__all__ = ["HeartBeats", "Session", "SessionSettings", "error_words"]

# How brokers say that credentials or the virtual host are at fault (RabbitMQ 3.10: "Access refused for user", "Virtual
# host 'x' access denied", "Missing login or passcode header(s)"; ActiveMQ 5.17: "User name [x] or password is invalid";
# CoilMQ 1.1: "Authentication failed for x", "Virtual hosting is not supported or host is unknown").
_AUTHENTICATION_WORDS = (
    "access", "authenticat", "authoriz", "credential", "denied", "login", "passcode", "password", "security",
    "unable to validate user", "user name", "username", "virtual host",
)  # fmt: skip

# The limits of a frame unless the settings say otherwise: a publisher receives no bodies except those of ERROR frames.
_LIMITS: typing.Final = {"max_header_bytes": 65_536, "max_headers": 1_000, "max_body_bytes": 1_048_576}

# Numbers of bytes.
_RECEIPT_SIZE = 64  # more than any RECEIPT for one of our numbers has
_MOST_RECEIVED = 65_536  # in one read
_LONGEST_LOOK = 65_536  # read at most to see whether the connection has ended
_MOST_UNASKED = 2_097_152  # read at most to see what has come unasked; an ERROR may have a body of 1 MiB
_MOST_UNREAD = 16_777_216  # read at most while we write
# A heart-beat is late after this many of its intervals, as for RabbitMQ 3.10: the "error margin" of STOMP 1.2,
# Heart-beating. ActiveMQ 5.17 leaves out a beat after a frame, so that two intervals pass without a byte.
_TOLERANCE = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The values for CONNECT, and the limits of the `FrameBuffer` that differ from the usual ones."""

    login: str | None = None
    passcode: str | None = dataclasses.field(default=None, repr=False)
    vhost: str | None = None
    versions: tuple[str, ...] = VERSIONS
    heart_beat: tuple[int, int] = (0, 0)
    headers: typing.Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    limits: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
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
        "_ask", "_broken", "_buffer", "_peeked", "_receive", "all_read", "broker", "bytes_received", "connected_frame",
        "dialect", "heart_beat", "id", "pid", "server", "transport", "unsettled", "version", "write_some",
    )  # fmt: skip

    def __init__(self, transport: Transport, broker: str, settings: SessionSettings, deadline: Deadline) -> None:
        self.transport = transport
        #: See `Transport.send_some`.
        self.write_some = transport.send_some
        self._receive = transport.receive
        self._ask = transport.ask
        self._buffer = FrameBuffer(**_LIMITS | settings.limits)
        self._broken: TransportClosed | None = None  # how a read ended that could not raise its exception
        self._peeked: Frame | None = None  # a frame that `ended` took out of the buffer, and that was not read yet
        self.broker = broker
        #: How many bytes have arrived, heart-beats included.
        self.bytes_received = 0
        #: Whether nothing was left to be read at the last look.
        self.all_read = False
        #: Whether a call is using the session, or was interrupted while using it. The user of the session sets this.
        self.unsettled = False
        #: The process that opened the session; in a forked child the session must not be used.
        self.pid = os.getpid()
        self.write(encode(settings.connect_frame()), deadline)
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
        self._buffer.tolerant = settings.tolerant  # faults in the messages of others must not end the session
        self.server = frame.headers.get("server")
        self.id = frame.headers.get("session")
        self.dialect = choose_dialect(self.server)
        self.heart_beat = negotiate_heart_beat(settings.heart_beat, parse_heart_beat(frame.headers.get("heart-beat")))

    @classmethod
    def open(cls, endpoint: Endpoint, settings: SessionSettings, deadline: Deadline) -> Session:
        """Connect to *endpoint*, and return the session. Raises `AuthenticationFailed` or `BrokerUnavailable`."""
        broker = f"{'stomp' if settings.tls is None else 'stomp+ssl'}://{endpoint}"
        try:
            transport = Transport.open(endpoint, settings.tls, deadline)
            try:
                return cls(transport, broker, settings, deadline)
            except BaseException:
                transport.close()
                raise
        except TransportTimeout as error:
            raise BrokerUnavailable(
                f"no session with {broker} within {deadline.seconds:.3g} s: {error}; nothing was sent. "
                "Is it a STOMP port, and is the broker up?",
                broker=broker,
                timed_out=True,
            ) from error
        except (TransportError, ProtocolError) as error:
            hint = "Is a broker with STOMP running there?"
            if "WRONG_VERSION_NUMBER" in str(error):  # OpenSSL's words for bytes that are not TLS
                hint = "The port does not seem to speak TLS; without it, the address begins with stomp://"
            elif isinstance(error, ProtocolError) and settings.tls is None:
                hint += " If the port speaks TLS, begin the address with stomp+ssl://"
            raise BrokerUnavailable(
                f"cannot open a session with {broker}: {error}; nothing was sent. {hint}", broker=broker
            ) from error

    def receipts_in_order(self, first: int, count: int, deadline: Deadline) -> int:
        """Read the RECEIPT frames for the numbers from *first* on, and return how many of the *count* have come.

        The bytes are compared with the expected ones, and not parsed. Brokers may write a line feed behind each frame.
        If fewer than *count* have come, `read_frame` returns the frame that came instead, or raises the reason.
        """
        if not self.all_read:
            return 0
        expected = b"RECEIPT\nreceipt-id:%d\n\n\0" % first
        most = _RECEIPT_SIZE
        if count > 1:
            most = min(_RECEIPT_SIZE * count, _MOST_RECEIVED)
            expected = b"".join([b"RECEIPT\nreceipt-id:%d\n\n\0" % each for each in range(first, first + count)])
        position = 0
        while True:
            try:
                data = self._receive(deadline, most)
            except TransportClosed as error:
                self._broken = error
                data = None
            if not data:
                break
            self.bytes_received += len(data)
            if data.rstrip(b"\n") == expected:
                return count
            came = data.replace(b"\0\n", b"\0")
            if came[0] == 10 and (not position or expected[position - 1] == 0):  # between two frames
                came = came.lstrip(b"\n")
            if not expected.startswith(came, position):
                break
            position += len(came)
            if position == len(expected):
                return count
            if deadline.expired:
                data = None
                break
        # Unexpected bytes are read as frames, together with the beginning of the frame in which they stand.
        whole = expected.rfind(b"\0", 0, position) + 1
        if data or whole < position:
            self._buffer.append(expected[whole:position] + (data or b""))
            self.all_read = False
        return expected.count(b"\0", 0, whole)

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send all of *data*. Raises what `write_rest` raises."""
        sent = self.write_some(data)
        if sent != len(data):
            self.write_rest(data, (), sent, deadline)

    def write_rest(self, data: bytes, more: typing.Sequence[bytes], sent: int, deadline: Deadline) -> None:
        """Send *data*, of which *sent* bytes have left, and *more*. Raises `TransportTimeout` or `TransportClosed`.

        Meanwhile, bytes from the broker are read, because two sides that only write would wait for each other for ever.
        """
        rest = [memoryview(part) for part in (data, *more)]
        while True:
            while rest and sent >= len(rest[0]):
                sent -= len(rest.pop(0))
            if not rest:
                return
            rest[0] = rest[0][sent:]
            sent = self.transport.send_parts(rest)
            if sent:
                continue
            room = len(self._buffer) < _MOST_UNREAD
            # The clock is checked too, because from a broker that sends without end there is always something to read.
            if deadline.expired or not self.transport.wait(deadline.remaining(), read=room, write=True):
                raise TransportTimeout("the broker did not take the bytes in time")
            if room:
                self._take_in()

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
        """The frames that have arrived already, without waiting: no call has asked for them.

        Raises `ProtocolError`, or `TransportClosed` if the broker has ended the connection, or sends more than 2 MiB.
        """
        most = self.bytes_received + _MOST_UNASKED
        while True:
            yield from self._buffer
            if not self._take_in():
                return
            if self.bytes_received > most:
                raise TransportClosed("the broker sends without being asked, and without end")

    def read_some(self, most: int) -> list[Frame]:
        """Return at most *most* frames that have arrived already; read once if there are none. Raises like `all_ready`.

        Frames that stand before a malformed one are returned first; the next call raises `ProtocolError`.
        """
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            return [peeked]
        frames: list[Frame] = []
        try:
            frames.extend(itertools.islice(self._buffer, most))  # frames taken out before an exception are kept
            if not frames and self._take_in():
                frames.extend(itertools.islice(self._buffer, most))
        except ProtocolError:
            if not frames:
                raise
        return frames

    def nothing_new(self) -> bool:
        """Whether the connection is open, and nothing has come that was not read. ``False`` may mean: not known.

        The system call does not release Python's lock; a read would, and would then have to wait for other threads.
        """
        if self._ask is None or (not self.all_read and self._buffer):
            return False
        try:
            self.all_read = read = unpack_info(self._ask()) == (ESTABLISHED, self.bytes_received)
            return read
        except (OSError, struct.error):
            self.all_read = False
            return False

    def ended(self) -> bool:
        """Whether the broker has ended the connection, and no frame is left for `read_some`. Never waits."""
        if self._peeked is not None:
            return False
        try:
            while len(self._buffer) < _LONGEST_LOOK and self._take_in():
                pass
            return False
        except TransportError:
            with contextlib.suppress(ProtocolError):  # the next call of `read_some` raises this error
                self._peeked = self._buffer.extract_frame()
            return self._peeked is None

    def _take_in(self, deadline: Deadline | None = None) -> bool:
        """Wait for bytes until *deadline*, if it is given, and move them into the buffer; return whether any came."""
        if self._broken is not None:
            raise self._broken
        data = self.transport.receive_some() if deadline is None else self.transport.receive(deadline)
        if data is None:
            self.all_read = not self._buffer
            return False
        if not data:
            raise TransportClosed("the broker closed the connection")
        self._buffer.append(data)
        self.bytes_received += len(data)
        self.all_read = False
        return True

    def close(self) -> None:
        """Close the connection, sending nothing. May be called again."""
        self.transport.close()


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
    """The text of an ERROR frame, as part of a sentence: its ``message``, and its body's first line if that adds to it.

    The rest of the body may be a Java stack trace (ActiveMQ 5.17). But a first line that ends with a comma begins an
    Erlang term over several lines (RabbitMQ 3.10, "AMQP channel died"), which is taken whole.
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


class HeartBeats:
    """The two clocks of a session. *agreed* is in milliseconds: (we send, they send), 0 for never.

    `sent` and `received` are the moments (``time.monotonic()``) of the last byte in each direction; any byte counts.
    """

    __slots__ = ("_expects", "_sends", "received", "sent")

    def __init__(self, agreed: tuple[int, int]) -> None:
        # Half the interval, so that the scheduling of threads cannot make a beat late.
        self._sends = agreed[0] / 2000
        self._expects = _TOLERANCE * agreed[1] / 1000
        self.sent = self.received = time.monotonic()

    def due(self, now: float) -> bool:
        """Whether a beat is to be sent."""
        return bool(self._sends) and now >= self.sent + self._sends

    def overdue(self, now: float) -> str | None:
        """The error text if the broker has been silent for too long; ``None`` if it has not."""
        if not self._expects or now < self.received + self._expects:
            return None
        promised = self._expects * 1000 / _TOLERANCE
        return f"no byte came for {self._expects:g} s; a heart-beat was promised every {promised:g} ms"

    def rest(self, now: float, reading: bool) -> float | None:
        """The seconds until something is due, ``None`` if nothing ever is. The broker's beats count if *reading*."""
        moments = [self.sent + self._sends] if self._sends else []
        if self._expects and reading:
            moments.append(self.received + self._expects)
        return max(min(moments) - now, 0.0) if moments else None
