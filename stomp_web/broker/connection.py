"""The broker's connections. A `Connection` reads and writes bytes, checks limits, runs timers and answers frames.

Only the loop's thread uses a connection. No call in this module blocks. If the socket is not ready, a call returns at
once. The loop tries again when the selector reports that the socket is ready.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import selectors
import socket
import ssl
import struct
import time
import typing

from ..errors import InvalidFrame
from ..protocol import Frame, FrameBuffer, encode
from .messages import Journal, log, notices
from .rules import NO_FAULT, Fault, FaultRules
from .session import Session

__all__ = ["Connection", "Limits", "exchange"]

# More than a TLS record: a smaller read would leave bytes in the TLS buffer, and the selector does not see them there.
_CHUNK = 262_144


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits for one client. `stomp_web.broker.Broker` documents these limits."""

    connect_timeout: float
    linger: float
    max_output_bytes: int
    frame: dict[str, typing.Any]


class Connection:
    """The connection of *session* over the non-blocking socket *sock*.

    * `finishing` - the broker writes the waiting output, and then ends its stream.
    * `lingering` - the broker has ended its stream. The client has `Limits.linger` seconds to read the rest.
    * `ended` - the client has ended its stream. `closed` means that the socket is closed.
    * `frozen` - the broker neither reads nor writes.
    * `aborted` - the loop closes the connection after one more write, with a TCP reset if `reset` is true.
    * `connect_by` - the time by which the client must send CONNECT. ``None`` means no limit.
    * `pending_frame` - the frame that caused a freeze. The broker processes this frame first when the freeze ends.
    * `held_back` - whether received frames must wait before the broker processes them.
    * `timer` - the time of the loop's next timer for this connection. Only the loop uses this attribute.

    All times are values of `time.monotonic`.
    """

    def __init__(self, sock: socket.socket, session: Session, limits: Limits, rules: FaultRules) -> None:
        self.sock = sock
        self.session = session
        self.rules = rules
        self.buffer = FrameBuffer(**limits.frame)
        self._handshaking = isinstance(sock, ssl.SSLSocket)
        self.finishing = False
        self.lingering = False
        self.ended = False
        self.closed = False
        self.frozen = rules.frozen
        self.aborted = False
        self.reset = False
        self.pending_frame: Frame | None = None
        self.held_back = False
        self.dribble: float | None = None
        self.timer: float | None = None
        self.events = 0
        self._limits = limits
        self._out = bytearray()
        self._delayed: collections.deque[tuple[float, bytes]] = collections.deque()
        self._delayed_size = 0
        self._late_receipts: list[bytes] = []
        self._wanted = 0  # the event that TLS waits for: TLS may have to read before it can write
        self._last_read = self._last_write = time.monotonic()
        self.connect_by: float | None = self._last_read + limits.connect_timeout
        self._linger_until = 0.0

    def receive(self) -> bytes | None:
        """Return the received bytes, or ``b""`` at the end of the stream. Return ``None`` if no bytes have arrived yet.

        Raises `OSError` if the connection is broken.
        """
        try:
            if self._handshaking:
                self._handshake()
            data = self.sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self._wanted = selectors.EVENT_WRITE
            return None
        self._last_read = time.monotonic()
        return data

    def _handshake(self) -> None:
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()
        self._handshaking = False

    @property
    def handles_frames(self) -> bool:
        """Whether the broker may process received frames now."""
        return not (self.finishing or self.frozen or self.aborted or self.session.ended or self.output_full)

    @property
    def output_full(self) -> bool:
        """Whether too much output waits. If so, the client gets no messages, and the client's frames must wait."""
        return len(self._out) + self._delayed_size > self._limits.max_output_bytes

    def answer(self, frames: list[Frame], fault: Fault = NO_FAULT) -> None:
        """Send *frames*. *fault* may delay all frames, and may hold back or repeat a receipt."""
        receipts = 0
        for frame in frames:
            data = self._encode(frame)
            if frame.command == "RECEIPT":
                if fault.late:
                    self._late_receipts.append(data)
                    continue
                receipts += 1
                data *= fault.copies
            self.write(data, fault.delay)
        if receipts and self._late_receipts:
            self.write(b"".join(self._late_receipts), fault.delay)
            self._late_receipts.clear()

    def write(self, data: bytes, delay: float = 0.0) -> None:
        """Send *data* after *delay* seconds, and after all earlier output."""
        if not delay and not self._delayed:
            self._out += data
            return
        due = time.monotonic() + delay
        if self._delayed:
            due = max(due, self._delayed[-1][0])
        self._delayed.append((due, data))
        self._delayed_size += len(data)

    def flush(self) -> None:
        """Write as many bytes as the socket accepts. Raises `OSError` if the connection is broken."""
        if self.frozen or self.lingering:
            return
        self._wanted = 0
        try:
            if self._handshaking:
                self._handshake()
            while self._out:
                sent = self._send_some()
                if self.dribble is not None or sent < _CHUNK:
                    break
        except (BlockingIOError, ssl.SSLWantWriteError):
            return
        except ssl.SSLWantReadError:
            self._wanted = selectors.EVENT_READ
            return
        if self.finishing and not self._out and not self._delayed:
            self._end_stream()

    def _send_some(self) -> int:
        if self.dribble is not None and time.monotonic() < self._last_write + self.dribble:
            return 0
        size = 1 if self.dribble is not None else _CHUNK
        with memoryview(self._out) as view, view[:size] as chunk:
            sent = self.sock.send(chunk)
        del self._out[:sent]
        self._last_write = time.monotonic()
        if self.finishing:
            self._linger_until = max(self._linger_until, self._last_write + self._limits.linger)
        return sent

    def _encode(self, frame: Frame) -> bytes:
        version = self.session.version
        has_length = frame.command == "ERROR" or "content-length" in frame.headers
        try:
            data = encode(frame, version, content_length=has_length)
        except InvalidFrame:
            # The receiver's STOMP version cannot encode all headers of the sender's version: send the others.
            headers = {name: value for name, value in frame.headers.items() if _fits(name, value, version)}
            data = encode(Frame(frame.command, headers, frame.body), version, content_length=has_length)
        # RabbitMQ and ActiveMQ write a line feed after each frame, and this broker does the same.
        return data + b"\n"

    def finish(self) -> None:
        """Begin to close the connection. All waiting output is written first."""
        self.finishing = True
        last = self._delayed[-1][0] if self._delayed else time.monotonic()
        self._linger_until = last + self._limits.linger

    def _end_stream(self) -> None:
        # If the socket is closed while received bytes are unread, TCP resets the connection, and the client may lose
        # our last frame. So end only our stream, and give the client a little time to close the connection.
        self.lingering = True
        self._linger_until = time.monotonic() + self._limits.linger
        with contextlib.suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool = False) -> None:
        """Close the socket. If *reset* is true, the client gets a TCP reset."""
        self.closed = True
        with contextlib.suppress(OSError):
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def freeze(self) -> None:
        """Stop reading and writing until `thaw` is called."""
        self.frozen = True

    def thaw(self) -> None:
        """Read and write again after a call of `freeze`. The timeouts for a silent client start again."""
        if self.frozen:
            self.frozen = False
            self._last_read = time.monotonic()

    def wanted_events(self) -> int:
        """Return the selector events for which the connection waits."""
        if self.frozen:
            return 0
        if self.lingering:
            return selectors.EVENT_READ
        events = self._wanted
        if not self.ended and (self.finishing or not self.output_full):
            events |= selectors.EVENT_READ
        if self._out and not (self.dribble and time.monotonic() < self._last_write + self.dribble):
            events |= selectors.EVENT_WRITE
        return events

    def next_time(self) -> float | None:
        """Return when `tick` must be called next, as a value of `time.monotonic`. Return ``None`` if no timer runs."""
        if self.frozen:
            return None
        times = [time for time, _ in self._ends()]
        beat = self._next_beat()
        if beat is not None:
            times.append(beat)
        if self._delayed:
            times.append(self._delayed[0][0])
        if self.dribble and self._out:
            times.append(self._last_write + self.dribble)
        return min(times, default=None)

    def tick(self, now: float) -> str | None:
        """Run the timers that are due at *now*. If the connection must be closed, return the reason."""
        if self.frozen:
            return None
        while self._delayed and self._delayed[0][0] <= now:
            data = self._delayed.popleft()[1]
            self._delayed_size -= len(data)
            self._out += data
        for end, reason in self._ends():
            if now >= end:
                return reason
        beat = self._next_beat()
        if beat is not None and now >= beat:
            self._out += b"\n"
        return None

    def _ends(self) -> list[tuple[float, str]]:
        """Return pairs ``(time, reason)``. The connection must be closed at the earliest of these times."""
        if self.finishing:
            return [(self._linger_until, "it did not close")]
        ends = []
        gets = self.session.heart_beat[1]
        if gets:
            ends.append((self._last_read + gets * 2 / 1000, f"it was silent for twice the {gets} ms that it promised"))
        if self.connect_by is not None and not self.session.connected:
            ends.append((self.connect_by, "it sent no CONNECT"))
        if (idle := self.rules.idle_timeout) is not None:
            ends.append((self._last_read + idle, "it was idle"))
        return ends

    def _next_beat(self) -> float | None:
        # Delayed output does not stop heart-beats: a slow broker still sends them.
        sends = self.session.heart_beat[0]
        return self._last_write + sends / 2000 if sends and not self._out and not self.finishing else None


def _fits(name: str, value: str, version: str) -> bool:
    try:
        encode(Frame("MESSAGE", {name: value}), version, content_length=False)
    except InvalidFrame:
        return name == "content-length"
    return True


def exchange(connection: Connection, journal: Journal) -> bool:
    """Process and answer the next frame that *connection* has read. Return false if no whole frame has arrived.

    Raises `ProtocolError` if the bytes are not a frame.
    """
    frame, fault = connection.pending_frame, NO_FAULT
    connection.pending_frame = None
    if frame is None:
        frame = connection.buffer.extract_frame()
        if frame is None:
            return False
        journal.frames[frame.command] += 1
        fault = connection.rules.due(frame.command)
    answers = _apply(connection, frame, fault)
    connection.buffer.version = connection.session.version
    _log(connection, frame, answers)
    return True


def _apply(connection: Connection, frame: Frame, fault: Fault) -> list[Frame]:
    """Process and answer *frame*, with the changes that *fault* demands. Return the answers that were sent."""
    session = connection.session
    if fault.freeze:
        connection.frozen = True
        connection.pending_frame = frame
        return []
    answers: list[Frame] = []
    if not fault.answer and not session.connected:
        # CONNECT gets no answer, so there is no session, and the broker sends no heart-beats.
        connection.connect_by = None
    elif fault.process:
        answers = session.handle(frame)
    if not fault.answer:
        answers = []
    if fault.instead is not None:
        error = fault.instead
        receipt = frame.headers.get("receipt") if fault.receipt_id else None
        headers = error.headers if receipt is None else {**error.headers, "receipt-id": receipt}
        answers = [Frame(error.command, headers, error.body)]
    connection.write(fault.before, fault.delay)
    connection.answer(answers, fault)
    connection.write(fault.after_answer)
    connection.aborted, connection.reset = fault.abort, fault.reset
    session.ended |= fault.close
    return answers


def _log(connection: Connection, frame: Frame, answers: list[Frame]) -> None:
    session = connection.session
    if log.isEnabledFor(logging.DEBUG):
        destination = frame.headers.get("destination")
        where = "" if destination is None else f" {destination!r}"
        notices.add(log.debug, "connection %d: %s%s", session.number, frame.command, where)
    for answer in answers:
        if answer.command == "ERROR":
            text = answer.body.decode(errors="replace")
            notices.add(log.warning, "connection %d: ERROR to %s: %r", session.number, frame.command, text)
        elif answer.command == "CONNECTED":
            notices.add(log.info, "connection %d: connected, STOMP %s", session.number, session.version)
