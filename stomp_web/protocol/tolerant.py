"""A reader for frames with faults. Without this reader, a faulty frame would end the receiver's session.

RabbitMQ 3.10.8 and 4.3.6 send frames with faults. In headers from an AMQP producer, RabbitMQ escapes only LF, CR, colon
and backslash. RabbitMQ passes on NUL, bytes that are not UTF-8, empty header names, and headers over the receiver's
limits. RabbitMQ writes the header ``content-length`` after all other headers.
"""

from __future__ import annotations

import re

from ..errors import ProtocolError
from .body import BodyReader, read_length
from .frame import Frame, UnreadableFrame
from .versions import has_escapes, unescape

__all__ = ["TolerantReader"]

# Headers that a receiver needs to acknowledge a message, to find the end of its body, and to report its outcome.
_NEEDED = frozenset(
    b"ack content-length content-type destination message message-id receipt-id redelivered subscription version "
    b"x-message-id".split()
)
# The start of a needed line, or of the line that ends a head. In a head over a limit, other lines are skipped.
_NEEDED_LINE = re.compile(rb"^(?:\r?\n|(?:" + b"|".join(sorted(_NEEDED)) + rb"):)", re.MULTILINE)
# So many bytes of each header line are kept, so that its name is known. A needed line up to this length is kept whole.
_SHORTEST_LINE_LIMIT = 256


class TolerantReader:
    """A reader for one frame with a known command, from the first byte to the closing NUL.

    The reader keeps at most 2 * *max_header_bytes* + *max_body_bytes* bytes, and 256 more bytes for each header that a
    receiver needs, such as ``message-id``.
    """

    def __init__(self, version: str, max_header_bytes: int, max_headers: int, max_body_bytes: int) -> None:
        self._version = version
        self._limits = (max_header_bytes, max_headers, max_body_bytes)
        self._frame = Frame("")
        self._count = 0  # number of header lines
        self._head_bytes = 0  # size of the command line and all header lines, counted like `max_header_bytes`
        self._kept_bytes = 0  # size of the needed headers that were kept beyond the limits
        self._needed: set[bytes] = set()  # names of `_NEEDED` that have come
        self._defects: dict[str, None] = {}  # an ordered set
        self._truncated = False
        self._line = bytearray()  # the kept part of the current line
        self._line_bytes = 0  # the length of the current line so far
        self._body: BodyReader | None = None
        #: The complete frame, or ``None`` before `read` has reached its end.
        self.frame: Frame | None = None

    def __len__(self) -> int:
        """Return the approximate number of bytes that the reader keeps."""
        body = len(self._body) if self._body is not None else 0
        return min(self._head_bytes, self._limits[0]) + self._kept_bytes + len(self._line) + body

    def read(self, data: bytes, position: int) -> int:
        """Read *data* from *position*. Return the position after the frame, or ``len(data)`` if the frame goes on.

        Raises `ProtocolError` if the reader cannot find the end of the frame.
        """
        while self._body is None:
            if self._truncated and not self._line_bytes:
                position = self._pass_over_lines(data, position)
            if position == len(data):
                return position
            position = self._read_line(data, position)
        position = self._body.read(data, position)
        if self._body.frame is not None:
            size, limit = self._body.size, self._limits[2]
            if size > limit:
                self._note(f"the body of {size} bytes was cut at the limit of {limit} bytes (max_body_bytes)", True)
            if self._defects:
                self._frame._received = tuple(self._defects), self._truncated
            self.frame = self._frame
        return position

    def _read_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end
        room = max(self._limits[0], _SHORTEST_LINE_LIMIT) - len(self._line)
        self._line += memoryview(data)[position : min(stop, position + room)]
        self._line_bytes += stop - position
        if end < 0:
            return stop
        line, length = bytes(self._line), self._line_bytes
        self._line.clear()
        self._line_bytes = 0
        complete = len(line) == length
        if self._version == "1.2" and complete:
            line = line.removesuffix(b"\r")
        if not self._frame.command:
            self._frame.command = line.decode()
            self._head_bytes = length
        elif line:
            self._head_bytes += length + 1
            self._count += 1
            self._check_limits()
            self._read_header(line, complete)
        else:
            stated = self._frame.headers.get("content-length")
            bytes_of_body = None if stated is None else read_length(stated, self._frame.command, self._version)
            self._body = BodyReader(self._frame, b"", bytes_of_body, self._limits[2], self._version, truncate=True)
        return end + 1

    def _pass_over_lines(self, data: bytes, position: int) -> int:
        """Skip lines of a head that exceeds a limit.

        Stop before a header in `_NEEDED`, before an empty line, or before an incomplete line.
        """
        found = _NEEDED_LINE.search(data, position)
        end = found.start() if found is not None else data.rfind(b"\n", position) + 1 or position
        self._head_bytes += end - position
        self._count += data.count(b"\n", position, end)
        self._check_limits()
        return end

    def _check_limits(self) -> None:
        max_header_bytes, max_headers, _ = self._limits
        if self._head_bytes > max_header_bytes:
            self._note(f"the headers exceed the limit of {max_header_bytes} bytes (max_header_bytes)", True)
        if self._count > max_headers:
            self._note(f"there are more than {max_headers} headers (max_headers)", True)

    def _read_header(self, line: bytes, complete: bool) -> None:
        name_bytes, colon, _ = line.partition(b":")
        needed = bool(colon) and name_bytes in _NEEDED
        if needed:
            if name_bytes in self._needed:
                return  # "only the first header entry SHOULD be used" (STOMP 1.2, Repeated Header Entries)
            self._needed.add(name_bytes)
            if name_bytes == b"content-length" and not complete:
                raise ProtocolError(f"the content-length of a {self._frame.command} frame is not a number")
        if self._truncated:
            # A short line is always kept: a long x-message-id must not use up the room for content-length.
            room = max(self._limits[0] - self._kept_bytes, _SHORTEST_LINE_LIMIT)
            if not needed or not complete or len(line) > room:
                return
            self._kept_bytes += len(line)
        if not colon:
            self._note("a header line has no colon, and was left out")
        elif not name_bytes:
            self._note("a header has no name, and was left out")
        else:
            name, _, value = self._decoded(line).partition(":")
            self._frame.headers.setdefault(self._unescaped(name), self._unescaped(value))

    def _decoded(self, line: bytes) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._note("a header is not UTF-8; replacement characters stand for what could not be read")
            text = line.decode("utf-8", "replace")
        if "\0" in text:
            self._note("a header has a NUL byte; a replacement character stands for it")
            text = text.replace("\0", "\ufffd")
        if "\r" in text and self._version == "1.2":
            self._note("a header has a carriage return that ends no line")
        return text

    def _unescaped(self, text: str) -> str:
        try:
            return unescape(text, self._version) if has_escapes(self._frame.command, self._version) else text
        except UnreadableFrame:
            self._note(f"a header has an escape that STOMP {self._version} does not define, and stands as it came")
            return text

    def _note(self, defect: str, truncated: bool = False) -> None:
        self._defects[defect] = None
        self._truncated |= truncated
