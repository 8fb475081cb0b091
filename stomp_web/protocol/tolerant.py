"""Reading a frame whose content is at fault, for receivers that must not end a session because of one message.

`FrameBuffer` hands a frame over to a `TolerantReader` when its strict reading has refused the content, and when it was
made for that. The rules:

* The end of the frame decides. While the end can be found, the frame is read to it; a frame whose end cannot be found
  raises `ProtocolError`, as in strict reading.
* Memory is bounded by the limits of the buffer, for a frame of any length: at most twice `max_header_bytes` of headers
  (and 256 bytes of each header that a receiver needs) and `max_body_bytes` of the body are kept. Each byte is looked at
  once.
* What was read differently from how it was written is told in `Frame.defects`; what a limit has cut off, in
  `Frame.truncated` too.

RabbitMQ 3.10.8 and 4.3.6 write the headers of an AMQP producer as they are, but for LF, CR, colon and backslash: bytes
that are not UTF-8, NUL, empty names, heads of any length and count. Their own headers come first (``subscription``,
``destination``, ``message-id``, ``redelivered``, ``ack``), ``content-type`` and ``content-length`` last.
"""

from __future__ import annotations

import re
import typing

from ..errors import ProtocolError
from .frame import COMMANDS, COMMANDS_WITH_BODY, Frame
from .versions import UNESCAPED_COMMANDS, unescape

__all__ = ["LONGEST_COMMAND", "TolerantReader", "UnreadableFrame", "read_length"]

LONGEST_COMMAND: typing.Final = max(map(len, COMMANDS))

# What a receiver needs to acknowledge a message, to find the end of its body, and to say what became of it.
_NEEDED = frozenset(
    (
        *(b"ack", b"content-length", b"content-type", b"destination", b"message", b"message-id", b"receipt-id"),
        *(b"redelivered", b"subscription", b"version", b"x-message-id"),
    )
)
# The start of a line that is needed, or that ends a head. Of a head over a limit, the other lines are not looked at.
_NEEDED_LINE = re.compile(rb"^(?:\r?\n|(?:" + b"|".join(sorted(_NEEDED)) + rb"):)", re.MULTILINE)
# Bytes of a header line that are kept at the least, so that its name can be told; a needed line of no more stays whole.
_SHORTEST_LINE_LIMIT = 256
_REPLACEMENT = "\ufffd"


class UnreadableFrame(ProtocolError):
    """The content of a frame is at fault, or over a limit; its end may be found nevertheless."""


def read_length(command: str, stated: str, version: str) -> int | None:
    """Return the number in a ``content-length`` header, ``None`` if it is too large for any limit.

    Raises `ProtocolError` if it is no number.
    """
    if version == "1.0":
        stated = stated.strip(" ")  # the examples of STOMP 1.0 have a space after the colon
    if not stated.isascii() or not stated.isdigit():
        raise ProtocolError(f"the content-length of a {command} frame is not a number: {stated[:40]!r}")
    return int(stated) if len(stated) <= 20 else None


class TolerantReader:
    """Reads one frame, from its first byte to its closing NUL, in pieces of any size."""

    __slots__ = (
        "_body",
        "_command",
        "_count",
        "_defects",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_kept_bytes",
        "_length",
        "_limits",
        "_line",
        "_line_bytes",
        "_needed",
        "_passed",
        "_truncated",
        "_version",
        "frame",
    )

    def __init__(self, version: str, max_header_bytes: int, max_headers: int, max_body_bytes: int) -> None:
        self._version = version
        self._limits = (max_header_bytes, max_headers, max_body_bytes)
        self._command = ""
        self._count = 0  # header lines
        self._head_bytes = 0  # of the command and all header lines, as `max_header_bytes` counts them
        self._kept_bytes = 0  # of needed headers that were kept beyond the limits
        self._headers: dict[str, str] = {}
        self._needed: set[bytes] = set()  # names of `_NEEDED` that have come; the first entry of a name counts
        self._defects: dict[str, None] = {}  # in their order, each once
        self._truncated = False
        self._line = bytearray()  # the line that has begun, as much of it as is kept
        self._line_bytes = 0  # and how long it is
        self._in_body = False
        self._length = -1  # of the body, if it is stated
        self._passed = 0  # bytes of the body so far
        self._body = bytearray()
        #: The frame, once its end was read.
        self.frame: Frame | None = None

    def __len__(self) -> int:
        """About how many bytes are kept."""
        return min(self._head_bytes, self._limits[0]) + self._kept_bytes + len(self._line) + len(self._body)

    def read(self, data: bytes, position: int) -> int:
        """Read on in *data* from *position*; return where the frame ends, or the end of *data*. See `frame`.

        Raises `ProtocolError` if the end of the frame cannot be found.
        """
        while not self._in_body:
            if self._truncated and not self._line_bytes:
                position = _next_needed_line(data, position)
            if position == len(data):
                return position
            position = self._read_line(data, position)
        return self._read_body(data, position)

    # -- the head ---------------------------------------------------------------------------------------------

    def _read_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end
        room = max(self._limits[0], _SHORTEST_LINE_LIMIT) - len(self._line)
        self._line += memoryview(data)[position : min(stop, position + room)]
        self._line_bytes += stop - position
        if not self._command:
            self._check_command(ended=end >= 0)
        if end < 0:
            return stop
        line, length = bytes(self._line), self._line_bytes
        self._line.clear()
        self._line_bytes = 0
        complete = len(line) == length
        if self._version == "1.2" and complete and line.endswith(b"\r"):
            line = line[:-1]
        if not self._command:
            self._command = line.decode()
            self._head_bytes = length
        elif line:
            self._head_bytes += length + 1
            self._count += 1
            self._read_header(line, complete)
        else:
            self._end_head()
        return end + 1

    def _check_command(self, *, ended: bool) -> None:
        line = bytes(self._line[: LONGEST_COMMAND + 2])
        if self._version == "1.2":
            line = line.removesuffix(b"\r")
        if line.decode("latin-1") not in COMMANDS and (ended or self._line_bytes > LONGEST_COMMAND + 1):
            raise ProtocolError("not a STOMP frame: it has no command")

    def _read_header(self, line: bytes, complete: bool) -> None:
        max_header_bytes, max_headers, _ = self._limits
        name_bytes, colon, _ = line.partition(b":")
        needed = bool(colon) and name_bytes in _NEEDED
        if self._head_bytes > max_header_bytes:
            self._cut(f"the headers exceed the limit of {max_header_bytes} bytes (max_header_bytes)")
        if self._count > max_headers:
            self._cut(f"there are more than {max_headers} headers (max_headers)")
        if needed:
            if name_bytes in self._needed:
                return  # "only the first header entry SHOULD be used" (STOMP 1.2, Repeated Header Entries)
            self._needed.add(name_bytes)
            if name_bytes == b"content-length" and not complete:
                raise ProtocolError(f"the content-length of a {self._command} frame is not a number")
        if self._truncated:
            # A short one is kept in any case: a sender's long x-message-id must not cost the content-length behind it.
            room = max(max_header_bytes - self._kept_bytes, _SHORTEST_LINE_LIMIT)
            if not needed or not complete or len(line) > room:
                return
            self._kept_bytes += len(line)
        if not colon:
            self._note("a header line has no colon, and was left out")
        elif not name_bytes:
            self._note("a header has no name, and was left out")
        else:
            name, _, value = self._decoded(line).partition(":")
            self._headers.setdefault(self._unescaped(name), self._unescaped(value))

    def _decoded(self, line: bytes) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._note("a header is not UTF-8; replacement characters stand for what could not be read")
            text = line.decode("utf-8", "replace")
        if "\0" in text:
            self._note("a header has a NUL byte; a replacement character stands for it")
            text = text.replace("\0", _REPLACEMENT)
        if "\r" in text and self._version == "1.2":
            self._note("a header has a carriage return that ends no line")
        return text

    def _unescaped(self, text: str) -> str:
        if "\\" not in text or self._version == "1.0" or self._command in UNESCAPED_COMMANDS:
            return text
        try:
            return unescape(text, self._version)
        except ProtocolError:
            self._note(f"a header has an escape that STOMP {self._version} does not define, and stands as it came")
            return text

    def _end_head(self) -> None:
        self._in_body = True
        stated = self._headers.get("content-length")
        if stated is not None:
            length = read_length(self._command, stated, self._version)
            if length is None:
                raise ProtocolError(f"a frame's body exceeds the limit of {self._limits[2]} bytes")
            self._length = length

    # -- the body ---------------------------------------------------------------------------------------------

    def _read_body(self, data: bytes, position: int) -> int:
        if self._length >= 0:
            end = position + self._length - self._passed
            if end >= len(data):
                self._keep(data, position, len(data))
                return len(data)
            if data[end]:
                raise ProtocolError(
                    f"the body of a {self._command} frame does not end after its content-length of {self._length} bytes"
                )
        else:
            end = data.find(b"\0", position)
            if end < 0:
                self._keep(data, position, len(data))
                return len(data)
        self._keep(data, position, end)
        self._finish()
        return end + 1

    def _keep(self, data: bytes, start: int, end: int) -> None:
        if end > start and self._command not in COMMANDS_WITH_BODY and self._version != "1.0":
            raise ProtocolError(f"a {self._command} frame must not have a body (STOMP 1.2, Body)")
        self._passed += end - start
        room = self._limits[2] - len(self._body)
        if room > 0:
            self._body += memoryview(data)[start : min(end, start + room)]

    def _finish(self) -> None:
        limit = self._limits[2]
        if self._passed > limit:
            self._cut(f"the body of {self._passed} bytes was cut at the limit of {limit} bytes (max_body_bytes)")
        self.frame = frame = Frame(self._command, None, bytes(self._body))
        self._body = bytearray()
        frame.headers = self._headers
        if self._defects:
            frame._received = tuple(self._defects), self._truncated

    def _cut(self, defect: str) -> None:
        self._truncated = True
        self._note(defect)

    def _note(self, defect: str) -> None:
        self._defects[defect] = None


def _next_needed_line(data: bytes, position: int) -> int:
    """Return where the next line begins that matters in a head over a limit; *position* is the start of a line."""
    found = _NEEDED_LINE.search(data, position)
    return found.start() if found is not None else data.rfind(b"\n", position) + 1 or position
