"""A STOMP session, from CONNECTED until the connection ends.

A `Session` exists only after the broker has sent CONNECTED, and each connection has its own `Session`. Therefore, a
client cannot write a SEND before CONNECT.
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
from .transport import ESTABLISHED, INFO, Transport, TransportClosed, TransportError, TransportTimeout, unpack_info

if typing.TYPE_CHECKING:
    import ssl

__all__ = ["HeartBeats", "Session", "SessionSettings", "error_words"]

# Words of brokers that reject the credentials or the virtual host. RabbitMQ 3.10: "Access refused for user", "Virtual
# host 'x' access denied", "Missing login or passcode header(s)". ActiveMQ 5.17: "User name [x] or password is invalid".
# CoilMQ 1.1: "Authentication failed for x", "Virtual hosting is not supported or host is unknown".
_AUTHENTICATION_WORDS = (
    "access", "authenticat", "authoriz", "credential", "denied", "login", "passcode", "password", "security",
    "unable to validate user", "user name", "username", "virtual host",
)  # fmt: skip

# The default limits of a frame. They are small, because a publisher receives no bodies except those of ERROR frames.
_LIMITS: typing.Final = {"max_header_bytes": 65_536, "max_headers": 1_000, "max_body_bytes": 1_048_576}

# Numbers of bytes.
_RECEIPT_SIZE = 64  # no RECEIPT with a numeric id is larger
_MOST_RECEIVED = 65_536  # at most in one read
_LONGEST_LOOK = 65_536  # at most read to find out whether the connection has ended
_MOST_UNASKED = 2_097_152  # at most read while no call waits for an answer; an ERROR may have a body of 1 MiB
_MOST_UNREAD = 16_777_216  # at most read while writing
# A heart-beat is late after this many intervals, as in RabbitMQ 3.10. STOMP 1.2, Heart-beating, asks for such an
# "error margin". After a frame, ActiveMQ 5.17 skips a beat, so that two intervals pass without a byte.
_TOLERANCE = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The settings of a session. `limits` holds the limits of the `FrameBuffer` that differ from the defaults."""

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
        """Return the CONNECT frame. The default virtual host is ``/``, which RabbitMQ, ActiveMQ and Artemis accept."""
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

    * `broker` - the address of the broker, such as ``stomp://localhost:61613``.
    * `connected_frame` - the CONNECTED frame. `version`, `server`, `id` and `dialect` come from this frame.
    * `heart_beat` - the agreed intervals ``(client sends, broker sends)`` in milliseconds. 0 means never.
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
        self._broken: TransportClosed | None = None  # the exception of `receipts_in_order`, for the next read
        self._peeked: Frame | None = None  # a frame that `ended` has taken out of the buffer, for `read_some`
        self.broker = broker
        #: The number of bytes that have arrived, including heart-beats.
        self.bytes_received = 0
        #: Whether the last check found no byte to read.
        self.all_read = False
        #: Whether a call uses the session, or was interrupted while it used the session. The call sets the value.
        self.unsettled = False
        #: The process that opened the session. A forked child must not use the session.
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
        self._buffer.tolerant = settings.tolerant  # a faulty message must not end the session
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
        """Read *count* RECEIPT frames with consecutive ids from *first* on. Return the number of frames that came.

        The method compares the received bytes with the expected bytes, without parsing. A broker may write a line feed
        after each frame. If the number is smaller than *count*, the caller calls `read_frame`. That method returns the
        next frame or raises the exception of the connection.
        """
        if not self.all_read:
            return 0
        expected = b"RECEIPT\nreceipt-id:%d\n\n\0" % first
        limit = _RECEIPT_SIZE
        if count > 1:
            limit = min(_RECEIPT_SIZE * count, _MOST_RECEIVED)
            expected = b"".join([b"RECEIPT\nreceipt-id:%d\n\n\0" % each for each in range(first, first + count)])
        position = 0
        while True:
            try:
                data = self._receive(deadline, limit)
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
        # Unexpected bytes go to the buffer, together with the beginning of their frame.
        whole = expected.rfind(b"\0", 0, position) + 1
        if data or whole < position:
            self._buffer.append(expected[whole:position] + (data or b""))
            self.all_read = False
        return expected.count(b"\0", 0, whole)

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send all of *data*. Raises the exceptions of `write_rest`."""
        sent = self.write_some(data)
        if sent != len(data):
            self.write_rest(data, (), sent, deadline)

    def write_rest(self, data: bytes, more: typing.Sequence[bytes], sent: int, deadline: Deadline) -> None:
        """Send the bytes of *data* after the first *sent* bytes, and then the parts in *more*.

        The method also reads bytes from the broker. If the client and the broker both wrote without reading, both could
        wait for ever. Raises `TransportTimeout` or `TransportClosed`.
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
            # The clock is checked, too: a broker that sends without end ends every wait at once.
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
            if late:  # bytes may come for ever without completing a frame
                raise TransportTimeout("the broker did not answer in time")
            late = deadline.expired
            if not self._take_in() and not self._take_in(deadline):
                raise TransportTimeout("the broker did not answer in time")

    def all_ready(self) -> typing.Iterator[Frame]:
        """Yield the frames that came while no call waited for an answer. The method does not wait.

        Raises `ProtocolError` if a frame cannot be read. Raises `TransportClosed` if the connection has ended, or
        if more than 2 MiB have come during this call.
        """
        limit = self.bytes_received + _MOST_UNASKED
        while True:
            yield from self._buffer
            if not self._take_in():
                return
            if self.bytes_received > limit:
                raise TransportClosed("the broker keeps sending data that was not asked for")

    def read_some(self, limit: int) -> list[Frame]:
        """Return at most *limit* frames that have arrived. If the buffer has no frame, read once without waiting.

        Raises `ProtocolError` or `TransportClosed`. If a malformed frame follows other frames, the next call raises.
        """
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            return [peeked]
        frames: list[Frame] = []
        try:
            frames.extend(itertools.islice(self._buffer, limit))  # the frames before an exception are kept
            if not frames and self._take_in():
                frames.extend(itertools.islice(self._buffer, limit))
        except ProtocolError:
            if not frames:
                raise
        return frames

    def nothing_new(self) -> bool:
        """Return whether the connection is open and all bytes were read. ``False`` can also mean "not known".

        The system call in this method keeps the GIL. A read would release the GIL, and then wait for other threads.
        """
        if self._ask is None or (not self.all_read and self._buffer):
            return False
        try:
            self.all_read = read = unpack_info(self._ask(*INFO)) == (ESTABLISHED, self.bytes_received)
            return read
        except (OSError, struct.error):
            self.all_read = False
            return False

    def ended(self) -> bool:
        """Return whether the broker has ended the connection and `read_some` has no more frames. Never waits."""
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
        """Move received bytes into the buffer, and return whether bytes came. Wait only if *deadline* is given."""
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
        """Close the connection without sending anything. Further calls do nothing."""
        self.transport.close()


def _connect_refused(frame: Frame, broker: str, settings: SessionSettings) -> MessageError:
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
    """Return the text of an ERROR frame as a part of a sentence.

    The text is the ``message`` header and, if different, the first line of the body. Further lines are left out,
    because they may be a Java stack trace (ActiveMQ 5.17). If the first line ends with a comma, the body is an Erlang
    term (RabbitMQ 3.10, "AMQP channel died"), and no line is left out. The text has at most 300 characters of the body.
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
    """The times for heart-beats. *agreed* holds two intervals in milliseconds: ``(client sends, broker sends)``.

    An interval of 0 means that this side sends no heart-beats. `sent` is the time when the last byte was sent.
    `received` is the time when the last byte was received. Both are values of ``time.monotonic()``. Any byte counts as
    a heart-beat.
    """

    __slots__ = ("_expects", "_sends", "received", "sent")

    def __init__(self, agreed: tuple[int, int]) -> None:
        # Half the interval, so that a beat is not late when the thread has to wait for the processor.
        self._sends = agreed[0] / 2000
        self._expects = _TOLERANCE * agreed[1] / 1000
        self.sent = self.received = time.monotonic()

    def due(self, now: float) -> bool:
        """Return whether the client must send a heart-beat now."""
        return bool(self._sends) and now >= self.sent + self._sends

    def overdue(self, now: float) -> str | None:
        """Return an error text if the broker has been silent for too long. Otherwise, return ``None``."""
        if not self._expects or now < self.received + self._expects:
            return None
        promised = self._expects * 1000 / _TOLERANCE
        return f"no byte came for {self._expects:g} s; a heart-beat was promised every {promised:g} ms"

    def rest(self, now: float, reading: bool) -> float | None:
        """Return the seconds until `due` must be checked. ``None`` means that no check is necessary.

        *reading* tells whether the client reads from the socket now. If so, `overdue` must be checked, too, and the
        result is the number of seconds until the earlier of the two checks.
        """
        moments = [self.sent + self._sends] if self._sends else []
        if self._expects and reading:
            moments.append(self.received + self._expects)
        return max(min(moments) - now, 0.0) if moments else None
