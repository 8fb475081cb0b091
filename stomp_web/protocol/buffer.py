"""A buffer that takes bytes in chunks of any size, and returns frames.

1. The frames do not depend on the sizes of the chunks.
2. The time is linear in the number of bytes, even for hostile input.
3. The memory is limited if the caller takes out the frames after each `FrameBuffer.append`. Then the buffer keeps at
   most one incomplete frame.
4. C code of the interpreter does most of the work: it finds the blank line, decodes the head and slices the body.
"""

from __future__ import annotations

import re
import sys
import typing

from ..errors import ProtocolError
from .body import BodyReader, check_body, read_length, wrong_length
from .frame import COMMANDS_WITH_BODY, Frame, UnreadableFrame
from .head import BLANK_LINE, LONGEST_COMMAND_LINE, NoCommand, check_beginning, parse_head
from .tolerant import TolerantReader
from .versions import check_version

__all__ = ["MAX_BODY_BYTES", "MAX_HEADERS", "MAX_HEADER_BYTES", "FrameBuffer"]

# The default limits of receiving clients. The limits of headers are twice the defaults of `FrameBuffer`, with which the
# development broker reads. A broker adds headers, and an escape writes one character as two.
MAX_HEADER_BYTES: typing.Final = 131_072
MAX_HEADERS: typing.Final = 2_000
MAX_BODY_BYTES: typing.Final = 134_217_728

_LF, _CR = b"\n\r"  # numbers, because `in` finds a number in bytes much faster than b"\r"
_ORDINARY_HEAD = 4_096  # bytes; the end of a longer head, or of one with CR LF line ends, is searched once more
_BIG = 65_536  # bytes; the rest of the chunk behind a longer body is copied, so that the body is not kept twice
# The first byte that is not part of a line end. ("(?:\r?\n)*" would keep 130 bytes for each of many line ends.)
_NO_EOL = re.compile(rb"[^\r\n]|\r(?!\n)")


class FrameBuffer:
    r"""A buffer that turns the bytes of a STOMP stream into frames.

    *version* determines the escapes and the line ends. After CONNECTED, a session sets `version` to the agreed version.

    If a frame breaks a rule of STOMP, a buffer without *tolerant* raises `ProtocolError`. A tolerant buffer reads the
    frame if the end of the frame can be found. `Frame.defects` lists the faults, and the frame changes as follows:

    * In a header, NUL bytes and bytes that are not UTF-8 become replacement characters (U+FFFD).
    * An escape that the version does not define stays unchanged in the header.
    * A header line without a colon or without a name is left out.
    * If a frame exceeds a limit, the excess is left out and `Frame.truncated` is true. The buffer keeps the headers
      that a receiver needs, such as ``message-id``, ``ack``, ``subscription``, ``destination`` and ``x-message-id``.
      If these headers alone exceed *max_header_bytes*, long headers may be left out, too.

    The following faults hide the end of a frame, and always raise `ProtocolError`:

    * The command is not known.
    * The content-length is not a number, or no NUL follows a body of this length.
    * The frame has a body, but its command allows no body. In STOMP 1.0, every command allows a body.

    A tolerant buffer truncates a frame over a limit. Any other buffer raises `ProtocolError`. The limits are:

    * *max_header_bytes* - the size of the command line and all header lines. Default 65,536 bytes.
    * *max_headers* - the number of header lines. Default 1,000.
    * *max_body_bytes* - the size of the body. Default 134,217,728 bytes (128 MiB), which is RabbitMQ's own limit.

    >>> buffer = FrameBuffer()
    >>> buffer.append(b"RECEIPT\nreceipt-id:1\n\n\0\nRECEIPT\nrec")
    >>> buffer.extract_frame()
    <Frame RECEIPT {'receipt-id': '1'} with 0 bytes>
    >>> buffer.extract_frame() is None
    True
    >>> buffer.append(b"eipt-id:2\n\n\0")
    >>> list(buffer)
    [<Frame RECEIPT {'receipt-id': '2'} with 0 bytes>]
    """

    __slots__ = (
        "_blank_line",
        "_data",
        "_first",
        "_head",
        "_later",
        "_position",
        "_problem",
        "_reader",
        "_version",
        "max_body_bytes",
        "max_header_bytes",
        "max_headers",
        "tolerant",
    )

    def __init__(
        self,
        version: str = "1.2",
        *,
        max_header_bytes: int = 65_536,
        max_headers: int = 1_000,
        max_body_bytes: int = MAX_BODY_BYTES,
        tolerant: bool = False,
    ) -> None:
        self._version = check_version(version)
        self.max_header_bytes = max_header_bytes
        self.max_headers = max_headers
        self.max_body_bytes = max_body_bytes
        self.tolerant = tolerant
        self.clear()

    @property
    def version(self) -> str:
        """The STOMP version of the next frame. Setting an unknown version raises `ValueError`."""
        return self._version

    @version.setter
    def version(self, version: str) -> None:
        if version != self._version:
            self._version = check_version(version)
            if not isinstance(self._reader, TolerantReader):
                self._begin_again()  # the beginning of the frame was read with the old version

    def clear(self) -> None:
        """Forget all bytes and the last error. The version and the limits stay the same."""
        self._first = True  # whether no frame was taken out yet
        # Frames are cut from this chunk, at `_position`. If the chunk ends inside a frame, `_head` keeps the beginning
        # of the frame. Once the blank line or a fault has come, `_reader` keeps this beginning.
        self._set_data(b"")
        self._head: bytes | bytearray = b""  # contains no blank line
        self._reader: BodyReader | TolerantReader | None = None
        # Bytes that came before the end of `_data` was read; so no append copies a backlog.
        self._later: bytes | bytearray = b""
        self._problem: str | None = None

    def _set_data(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._blank_line = -1  # the position of the next b"\n\n" in `_data`, if already searched

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Store *data*, the next bytes of the stream. `extract_frame` raises an exception if the bytes are malformed.

        Take out the frames after each call. Otherwise, the memory can exceed the limits. After a `ProtocolError`, the
        buffer ignores *data* until the caller calls `clear`.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._position < len(self._data) or self._later:
            if not self._later:
                self._later = bytearray()
            self._later += data
        elif (reader := self._reader) is not None and type(reader) is BodyReader and len(data) < reader.missing:
            reader.add(data)
        elif self._problem is None:
            self._data = data
            self._position = 0
            self._blank_line = -1

    def __len__(self) -> int:
        """Return the number of bytes in the buffer, including the bytes of an incomplete frame."""
        begun = len(self._head) if self._reader is None else len(self._reader)
        return begun + len(self._data) - self._position + len(self._later)

    def __iter__(self) -> typing.Iterator[Frame]:
        """Take out all complete frames, one after the other. Raises `ProtocolError` at a malformed frame.

        The iterator first returns the frames before the malformed frame. Use a ``for`` loop: ``list(buffer)`` would
        raise the exception and lose these frames.
        """
        while (frame := self.extract_frame()) is not None:
            yield frame

    def extract_frame(self) -> Frame | None:
        """Take out and return the next frame, or return ``None`` if the frame is not complete. Skip heart-beats.

        Raises `ProtocolError` if the next bytes are not STOMP or exceed a limit. A tolerant buffer raises the exception
        only if it cannot find the end of a frame. Later calls raise the exception again until the caller calls `clear`.
        """
        while True:
            if self._position == len(self._data):
                if self._problem is not None:
                    # A new exception, because the traceback of the first one shows the bytes, perhaps a passcode.
                    raise ProtocolError(self._problem)
                if not self._later:
                    self._data = b""
                    self._position = 0
                    return None
                self._set_data(bytes(self._later))
                self._later = b""
            try:
                frame = self._cut() if self._reader is None else self._read_on()
                if frame is not None:
                    self._first = False
                    return frame
            except ProtocolError as error:
                if self.tolerant and isinstance(error, UnreadableFrame):
                    self._begin_again()
                    limits = self.max_header_bytes, self.max_headers, self.max_body_bytes
                    self._reader = TolerantReader(self._version, *limits)
                    continue
                problem = str(error)
                if self._first and isinstance(error, NoCommand):  # later bytes may belong to a body
                    problem += f", but begins with {error.line!r}"
                self.clear()
                self._problem = problem

    def _cut(self) -> Frame | None:
        """Return the next frame of `_data`. If the frame is incomplete, keep its beginning and return ``None``."""
        if self._head and not self._head_may_be_complete():
            return None
        data = self._data
        start = self._position
        if data[start] <= _CR:  # perhaps a line end; a frame begins with a letter
            found = _NO_EOL.search(data, start)
            if found is None:
                self._position = len(data)
                return None
            start = self._position = found.start()
        # A chunk without "\n\n" (CR LF line ends) is searched once, not once per frame.
        head_end = self._blank_line
        if head_end < start:
            head_end = data.find(b"\n\n", start)
            if head_end < 0:
                head_end = sys.maxsize
            self._blank_line = head_end
        body_start = head_end + 2
        size = head_end - start
        if size > _ORDINARY_HEAD or size > self.max_header_bytes or _CR in (head := data[start:head_end]):
            span = self._search_blank_line(start, head_end)
            if span is None:
                return None
            head_end, body_start = span
            head = data[start:head_end]
        frame = parse_head(head, self._version, self.max_headers)
        stated = frame.headers.get("content-length")
        if stated is None:
            length = None
            end = data.find(b"\0", body_start)
        else:
            length = read_length(stated, frame.command, self._version)
            end = body_start + length
        size = end - body_start
        if size > 0 and (size > self.max_body_bytes or frame.command not in COMMANDS_WITH_BODY):
            check_body(frame, size, self.max_body_bytes, self._version)
        if not 0 <= end < len(data):
            reader = BodyReader(frame, data[start:body_start], length, self.max_body_bytes, self._version)
            if length is None:
                reader.read(data, body_start)
            else:
                reader.add(data[body_start:])
            self._reader = reader
            self._set_data(b"")
            return None
        if data[end]:
            raise wrong_length(frame)
        frame.body = data[body_start:end]
        end += 1
        if end < len(data) and data[end] == _LF:  # brokers write a line feed after each frame
            end += 1
        self._position = end
        if size > _BIG and size > len(data) - end:
            self._set_data(data[end:])
        return frame

    def _search_blank_line(self, start: int, line_feeds: int) -> tuple[int, int] | None:
        r"""Return the span of the blank line after a head that is long or contains a CR.

        The head begins at the position *start*. *line_feeds* is the position of the next ``b"\n\n"``, or `sys.maxsize`
        if the buffer has none. If the blank line has not come yet, move the bytes of the incomplete head to `_head`,
        and return ``None``.
        """
        data = self._data
        limit = self._longest_head
        longest = min(start + limit + 1, len(data))
        span = (line_feeds, line_feeds + 2) if line_feeds + 2 <= longest else None
        if data.find(_CR, start, min(line_feeds, longest)) >= 0:
            found = BLANK_LINE[self._version].search(data, start, longest)
            span = found.span() if found is not None else None
        if span is not None and span[0] - start <= self.max_header_bytes:
            return span
        # A TolerantReader needs a known command.
        check_beginning(data[start : start + LONGEST_COMMAND_LINE], self._version)
        if span is not None or len(data) - start > limit:
            raise UnreadableFrame(f"a frame's headers exceed the limit of {self.max_header_bytes} bytes")
        self._head = bytearray(memoryview(data)[start:])
        self._set_data(b"")
        return None

    @property
    def _longest_head(self) -> int:
        return max(self.max_header_bytes + len("\n\r"), LONGEST_COMMAND_LINE)

    def _head_may_be_complete(self) -> bool:
        """Add the bytes of `_data` to the incomplete `_head`. Return ``False`` if there is still no blank line.

        If there is a blank line, put all bytes back into `_data`, and return ``True``. Do the same without a search for
        the blank line if `_head` is not longer than `_data`, or if the two together are longer than `_longest_head`.
        """
        head = self._head
        known = len(head)
        if known > len(self._data) and known + len(self._data) <= self._longest_head:
            head += self._data
            self._set_data(b"")
            if known < LONGEST_COMMAND_LINE:
                check_beginning(bytes(head[:LONGEST_COMMAND_LINE]), self._version)
            # The search begins two bytes back, to find a blank line that is split between two chunks.
            if head.find(_LF, known) < 0 or BLANK_LINE[self._version].search(head, known - 2) is None:
                return False
        self._begin_again()  # the head is shorter than the chunk, so few bytes are searched again
        return True

    def _read_on(self) -> Frame | None:
        assert self._reader is not None
        end = self._reader.read(self._data, self._position)
        frame = self._reader.frame
        if frame is not None:
            self._reader = None
            if self._data.startswith(b"\n", end):
                end += 1
        self._position = end
        return frame

    def _begin_again(self) -> None:
        """Put the kept beginning of a frame back into `_data`. The frame is then read again from its start."""
        begun = self._reader.kept() if isinstance(self._reader, BodyReader) else self._head
        if begun:
            self._set_data(b"".join((begun, memoryview(self._data)[self._position :])))
            self._head = b""
            self._reader = None
