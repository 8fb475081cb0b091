"""Bytes to frames: a buffer that is fed with bytes, however they were cut, and gives out frames.

The goals, in this order:

1. What comes out is what went in, for every cut of the bytes and every version.
2. Time is linear in the bytes for every input, hostile ones too. No byte is searched twice for the same thing.
3. Memory is bounded: what is kept is at most one frame that is not complete yet (within the limits) and the
   bytes appended since the last frame was taken out.
4. The common case, many whole frames in one chunk, runs through C code: one search for the blank line, one
   decode of the head, one slice of the body.

Three states follow from that. While `_data` holds an immutable chunk, frames are cut from it at `_position`, and
nothing is copied but the body. When the chunk ends in the middle of a body whose length is known, the pieces of the
body are kept as they come, in `_parts`, and joined once, when none is `_missing`. When it ends elsewhere in a frame,
its rest moves to `_partial`, which grows by appending and remembers how far it was searched (`_searched`); when the
frame is complete, `_partial` becomes the next `_data`. What is appended before that was read to its end waits in
`_later`, so that no append moves a backlog.

`_cut_whole` is the fast path: a whole and ordinary frame in `_data`. It takes no decision of its own about anything
else, but leaves it to the slow path, which is its oracle in the tests.

A frame that the slow path refuses for its content (`UnreadableFrame`) is read again by a tolerant buffer, from its
first byte, by a `TolerantReader`; while there is one (`_reader`), the bytes that come wait in `_later` for it.
"""

from __future__ import annotations

import re
import typing

from ..errors import ProtocolError
from .frame import COMMANDS, COMMANDS_WITH_BODY, Frame
from .tolerant import LONGEST_COMMAND, TolerantReader, UnreadableFrame, read_length
from .versions import UNESCAPED_COMMANDS, check_version, unescape

__all__ = ["FrameBuffer"]

_COMMAND_OF = {command.encode(): command for command in COMMANDS}
_BIG = 65_536  # bytes; a chunk of this size is kept as it is until its last frame was taken out
_SMALL = 4_096  # bytes; pieces of a body that are smaller are put together, or a million of them would take a lot
# What may stand at the end of the bytes read so far and still become a command line.
_BEGUN = frozenset(name[:length] for name in _COMMAND_OF for length in range(len(name) + 1))
# The first byte that is no part of a line end. Not "(?:\r?\n)*": that keeps 130 bytes for each of a flood of EOLs.
_NO_EOL = re.compile(rb"[^\r\n]|\r(?!\n)")
_BLANK_LINE = {
    "1.0": re.compile(rb"\n\n"),
    "1.1": re.compile(rb"\n\n"),
    "1.2": re.compile(rb"\n\r?\n"),  # "an OPTIONAL carriage return [...] followed by a REQUIRED line feed"
}


class FrameBuffer:
    r"""Turns the bytes of a STOMP stream into frames.

    *version* says how header escapes and line ends are read; it may be changed between frames through
    `version`, as a session does when CONNECTED tells what was agreed.

    A frame that breaks a rule of STOMP ends in `ProtocolError`. With *tolerant*, for receivers whose messages are
    written by others, a frame whose end can be found is read nevertheless, and says in `Frame.defects` what was wrong:

    * bytes of a header that are not UTF-8, and NUL bytes there, become replacement characters (U+FFFD);
    * an escape that the version does not define stays in the header as it came;
    * a header line without a colon, or without a name, is left out;
    * of a frame over a limit, what exceeds it is passed over and not kept, and `Frame.truncated` is true. The headers
      that are needed to acknowledge a message are kept wherever they stand: ``message-id``, ``ack``, ``subscription``,
      ``destination``, ``x-message-id``, and a few more.

    A frame without a known command, with a content-length that is no number or does not end at a NUL, or with a body
    where none may be, raises `ProtocolError` always: nothing behind it can be read.

    The limits end in `ProtocolError`, or in a truncated frame, never in unbounded memory:

    * *max_header_bytes* - of the command line and all header lines of a frame. Default 65,536.
    * *max_headers* - how many header lines a frame may have. Default 1,000.
    * *max_body_bytes* - of one body. Default 134,217,728 (128 MiB, which is RabbitMQ's own limit).

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
        "_error",
        "_fresh",
        "_head",
        "_head_bytes",
        "_later",
        "_missing",
        "_partial",
        "_parts",
        "_position",
        "_reader",
        "_searched",
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
        max_body_bytes: int = 134_217_728,
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
        """The STOMP version by which the next frame is read. Raises `ValueError` if set to an unknown one."""
        return self._version

    @version.setter
    def version(self, version: str) -> None:
        if version != self._version:
            self._version = check_version(version)
            # The next frame may have begun, and what is known of it was read by the version before.
            self._new_frame()

    def clear(self) -> None:
        """Forget everything, as for a new connection. The version and the limits stay."""
        self._data = b""
        self._position = 0
        self._fresh = True  # no frame was taken out yet
        self._partial = bytearray()
        self._later = bytearray()
        self._reader: TolerantReader | None = None
        self._error: str | None = None
        self._parts: list[bytes | bytearray] = []
        self._head_bytes = b""
        self._new_frame()

    def _new_frame(self) -> None:
        if self._parts:
            self._partial = bytearray().join((self._head_bytes, *self._parts))
        # What is known of the frame that begins at `_position` in `_data`, or at 0 in `_partial`, or whose body is in
        # `_parts`, which lacks `_missing` bytes, the closing NUL among them (or has so many more, if it is negative).
        self._head: tuple[Frame, int, int] | None = None  # (frame without body, body's start, its length or -1)
        self._head_bytes = b""  # as they came, for a version that changes now
        self._parts = []
        self._missing = 0
        self._searched = 0  # offset from the frame's start up to which the next terminator was searched in vain
        self._blank_line = -1  # where in `_data` the next b"\n\n" stands, if that was already searched

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Take in *data*, the next bytes of the stream.

        It only stores them; what is wrong with them is said by `extract_frame`. Take the frames out after each
        call: that is what keeps the memory within the limits. After a `ProtocolError` it stores nothing, until
        `clear`.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._error is not None:
            return
        if self._reader is not None:
            self._later += data
        elif self._missing > 0:
            if len(data) >= _SMALL:
                self._parts.append(data)
                self._missing -= len(data)
            else:
                self._add_small_part(data)
        elif self._partial and not self._later:
            if len(data) < len(self._partial):
                self._partial += data
            else:  # one copy instead of two, and what is read again is no more than what is new
                self._set_data(b"".join((self._partial, data)))
                self._new_frame()
        elif self._position == len(self._data) and not self._later and not self._parts:
            self._set_data(data)
        else:
            self._later += data

    def _set_data(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._blank_line = -1
        if self._partial:
            self._partial = bytearray()

    def _add_small_part(self, data: bytes) -> None:
        last = self._parts[-1]
        if type(last) is bytearray and len(last) < _BIG:
            last += data
        else:
            self._parts.append(bytearray(data))
        self._missing -= len(data)

    def __len__(self) -> int:
        """How many bytes wait here for the rest of their frame, or to be taken out as frames."""
        body = len(self._head_bytes) + sum(map(len, self._parts)) if self._parts else 0
        reader = len(self._reader) if self._reader is not None else 0
        return len(self._partial) + len(self._data) - self._position + len(self._later) + body + reader

    def __bool__(self) -> bool:
        """Whether there are any such bytes."""
        return bool(
            self._position < len(self._data) or self._partial or self._parts or self._later or self._reader is not None
        )

    def __iter__(self) -> typing.Iterator[Frame]:
        """Take out every frame that is complete, one after the other. Raises `ProtocolError`.

        The frames before a malformed one are given out first. Take them one by one: code that
        collects them all at once, as ``list`` does, loses them to the exception.
        """
        while (frame := self._cut_whole() or self._cut_any()) is not None:
            yield frame

    def extract_frame(self) -> Frame | None:
        """Take out the next frame; ``None`` if it is not complete yet.

        Line ends between frames - heart-beats - are passed over.

        Raises `ProtocolError` if the bytes are not STOMP or exceed a limit, once the frames before were taken out; a
        tolerant buffer only where the end of a frame cannot be found. The stream is then out of step for good: every
        later call raises it again, until `clear`.
        """
        return self._cut_whole() or self._cut_any()

    def _cut_any(self) -> Frame | None:
        """What `extract_frame` does where `_cut_whole` says nothing: the slow path."""
        if self._parts and self._missing > 0 and not self._later:
            return None  # the body is not all here
        if self._error is not None:
            raise ProtocolError(self._error)
        try:
            frame = self._extract_tolerantly() if self.tolerant else self._extract()
            if frame is None and self._later:
                later = bytes(self._later)
                self._later = bytearray()
                self.append(later)
                frame = self._extract_tolerantly() if self.tolerant else self._extract()
        except ProtocolError as error:
            problem = str(error)
        else:
            return frame
        self.clear()
        self._error = problem
        # Raised anew: the traceback of the first exception would show the bytes.
        raise ProtocolError(problem)

    def _extract_tolerantly(self) -> Frame | None:
        """What `_extract` does; a frame whose content is at fault is read by a `TolerantReader`."""
        if self._reader is None:
            try:
                return self._extract()
            except UnreadableFrame:
                # All of the frame that has come is there, from its first byte on: a head and a body are let go only
                # when they are complete and in order.
                if self._partial:
                    self._set_data(bytes(self._partial))
                self._head = None
                self._searched = 0
                self._reader = TolerantReader(
                    self._version, self.max_header_bytes, self.max_headers, self.max_body_bytes
                )
        else:
            self._set_data(bytes(self._later))
            self._later = bytearray()
        self._position = self._reader.read(self._data, self._position)
        frame = self._reader.frame
        if frame is None:
            self._set_data(b"")
        else:
            self._reader = None
            self._fresh = False
        return frame

    def take_matches(self, whole: re.Pattern[bytes], each: re.Pattern[bytes]) -> list[bytes]:
        """Take out all that is here at once, if it matches *whole*: return what each match of *each* has in its group.

        For a reader who awaits many frames of a form that he knows, and wants to compare them as bytes. An empty list:
        nothing was taken out.
        """
        if self._position or not self._data or self._later or whole.fullmatch(self._data) is None:
            return []
        found = each.findall(self._data)
        self._set_data(b"")
        self._fresh = False
        return found

    def _cut_whole(self) -> Frame | None:
        """Cut the next frame from `_data` if all of it is there and nothing about it is out of the ordinary.

        ``None`` says nothing but that the slow path has to look. Measured on CPython 3.11 with 200 B bodies: 1.3 times
        as many frames a second as through the slow path alone.
        """
        data = self._data
        start = self._position
        if start >= len(data):
            return None
        if data[start] == 10:  # the line end that brokers write behind a frame
            start += 1
        end = self._blank_line
        if end < start:
            end = data.find(b"\n\n", start)
            self._blank_line = end if end >= 0 else len(data)
        if not 0 <= end - start <= self.max_header_bytes or end == len(data):
            return None
        if data.find(b"\r", start, end) >= 0:  # the head may have ended long before this blank line
            return None
        try:
            head = data[start:end].decode()
        except UnicodeDecodeError:
            return None
        lines = head.split("\n")
        command = lines[0]
        del lines[0]
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                return None
            headers[name] = value
        if (
            command not in COMMANDS
            or len(headers) != len(lines)
            or len(lines) > self.max_headers
            or "\0" in head
            or "" in headers
        ):
            return None
        if "\\" in head:
            if self._version == "1.0" or command in UNESCAPED_COMMANDS:
                return None
            try:  # few headers have an escape: of ActiveMQ, those with its ids
                headers = {
                    (unescape(name, self._version) if "\\" in name else name): (
                        unescape(value, self._version) if "\\" in value else value
                    )
                    for name, value in headers.items()
                }
            except ProtocolError:
                return None
            if len(headers) != len(lines):
                return None
        body_start = end + 2
        stated = headers.get("content-length")
        if stated is None:
            end = data.find(b"\0", body_start)
            if end < 0:
                return None
        elif stated.isdigit() and stated.isascii() and len(stated) < 20:
            end = body_start + int(stated)
        else:
            return None
        length = end - body_start
        if length and (length > self.max_body_bytes or (command not in COMMANDS_WITH_BODY and self._version != "1.0")):
            return None
        frame = Frame.__new__(Frame)
        frame.command = command
        frame.headers = headers
        if end >= len(data):
            self._position = start
            self._await_body(frame, body_start, length)
            return None
        if data[end] or length > _BIG:
            return None
        frame.body = data[body_start:end]
        self._position = end + 1
        self._fresh = False
        return frame

    def _extract(self) -> Frame | None:
        if self._parts:
            return self._join_body() if self._missing <= 0 else None
        if self._partial:
            if self._head is None and not self._skip_eols_of_partial():
                return None
            if not self._partial_may_be_complete():
                return None
            self._set_data(bytes(self._partial))
        if self._head is None and not self._read_head():
            return None
        return self._read_body()

    # -- the frame that is not complete yet -------------------------------------------------------------------

    def _skip_eols_of_partial(self) -> bool:
        if self._partial[0] in b"\r\n":
            del self._partial[: _end_of_eols(self._partial, 0)]
            self._searched = 0
        return bool(self._partial)

    def _partial_may_be_complete(self) -> bool:
        partial = self._partial
        if self._head is not None:
            # A body without content-length ends at the first NUL.
            if partial.find(b"\0", self._searched) < 0:
                self._searched = len(partial)
                self._check_body_length(self._searched - self._head[1])
                return False
            return True
        # The head: one search for the blank line, begun two bytes back so that none is missed across a cut.
        start = max(self._searched - 2, 0)
        if _BLANK_LINE[self._version].search(partial, start) is not None:
            return True
        self._check_open_head(partial, 0)
        self._searched = len(partial)
        return False

    def _keep_rest(self) -> None:
        """Move the beginning of an incomplete frame out of the chunk, which may be much larger."""
        self._partial = bytearray(memoryview(self._data)[self._position :])
        self._data = b""
        self._position = 0

    # -- the head ---------------------------------------------------------------------------------------------

    def _read_head(self) -> bool:
        data = self._data
        start = self._position
        if start < len(data) and data[start] in b"\r\n":
            start = self._position = _end_of_eols(data, start)
        if start == len(data):
            self._data = b""
            self._position = 0
            return False
        # The blank line is searched once per chunk, not once per frame: with CR LF line ends there may be none.
        end = self._blank_line
        if end < start:
            end = data.find(b"\n\n", start)
            if end < 0:
                end = len(data)
            self._blank_line = end
        body_start = end + 2
        first_line = data.find(b"\n", start, start + LONGEST_COMMAND + 2)
        if end == len(data) or data.find(b"\r", start, end) >= 0:
            # There may be CR LF line ends, or the head is incomplete.
            blank = _BLANK_LINE[self._version].search(data, start, start + self.max_header_bytes + 3)
            if blank is None:
                self._check_open_head(data, start)
                self._searched = len(data) - start
                self._keep_rest()
                return False
            end, body_start = blank.span()
        if end - start > self.max_header_bytes:
            raise UnreadableFrame(f"a frame's headers exceed the limit of {self.max_header_bytes} bytes")
        if first_line < 0:
            first_line = start + LONGEST_COMMAND + 2  # too long by one, even for a command and CR
        command_line = data[start:first_line]
        command = _COMMAND_OF.get(command_line)
        if command is None:
            command = self._odd_command(command_line)
        headers = self._read_headers(command, data[first_line + 1 : end]) if first_line < end else {}
        frame = Frame.__new__(Frame)
        frame.command = command
        frame.headers = headers
        self._head = (frame, body_start - start, self._body_length(command, headers))
        self._searched = 0
        return True

    def _odd_command(self, line: bytes) -> str:
        if self._version == "1.2" and line.endswith(b"\r"):
            command = _COMMAND_OF.get(line[:-1])
            if command is not None:
                return command
        # At the beginning of a stream it tells who answers there ("HTTP/1.1 400"). Later it may be the rest of a body.
        begin = f"it begins with {line[:40]!r} where a command should stand" if self._fresh else "it has no command"
        raise ProtocolError(f"not a STOMP frame: {begin}")

    def _check_open_head(self, data: bytes | bytearray, start: int) -> None:
        """Refuse the beginning of a head that can never become one, as soon as that is seen."""
        if len(data) - start > self.max_header_bytes + 2:
            raise UnreadableFrame(f"a frame's headers exceed the limit of {self.max_header_bytes} bytes")
        line, line_feed, _ = bytes(data[start : start + LONGEST_COMMAND + 2]).partition(b"\n")
        if line_feed:
            if line not in _COMMAND_OF:
                self._odd_command(line)
        elif line.removesuffix(b"\r") not in _BEGUN:
            self._odd_command(line)

    def _read_headers(self, command: str, block: bytes) -> dict[str, str]:
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            raise UnreadableFrame(f"a header of a {command} frame is not UTF-8: {error.reason}") from None
        if "\0" in text:
            raise UnreadableFrame(f"a NUL byte stands among the headers of a {command} frame")
        lines = text.split("\n")
        if "\r" in text and self._version == "1.2":
            lines = [line[:-1] if line.endswith("\r") else line for line in lines]
            if any("\r" in line for line in lines):
                raise UnreadableFrame(f"a header of a {command} frame has a carriage return that ends no line")
        if len(lines) > self.max_headers:
            raise UnreadableFrame(f"a {command} frame has more than {self.max_headers} headers")
        try:
            pairs: list[tuple[str, str]] = [line.split(":", 1) for line in lines]  # type: ignore[misc]
            headers = dict(pairs)
        except ValueError:
            bad = next(line for line in lines if ":" not in line)
            raise UnreadableFrame(f"a header line of a {command} frame has no colon: {bad[:40]!r}") from None
        if "\\" in text and self._version != "1.0" and command not in UNESCAPED_COMMANDS:
            try:
                pairs = [(unescape(name, self._version), unescape(value, self._version)) for name, value in pairs]
            except ProtocolError as error:
                raise UnreadableFrame(str(error)) from None
            headers = dict(pairs)
        if len(headers) != len(pairs):
            # "only the first header entry SHOULD be used" (STOMP 1.2, Repeated Header Entries)
            headers = {}
            for name, value in pairs:
                headers.setdefault(name, value)
        if "" in headers:
            raise UnreadableFrame(f"a header of a {command} frame has no name")
        return headers

    # -- the body ---------------------------------------------------------------------------------------------

    def _body_length(self, command: str, headers: dict[str, str]) -> int:
        stated = headers.get("content-length")
        if stated is None:
            return -1
        length = read_length(command, stated, self._version)
        if length is None:
            length = self.max_body_bytes + 1
        self._check_body_length(length)
        return length

    def _check_body_length(self, length: int) -> None:
        if length > self.max_body_bytes:
            raise UnreadableFrame(f"a frame's body exceeds the limit of {self.max_body_bytes} bytes")

    def _read_body(self) -> Frame | None:
        assert self._head is not None
        frame, offset, length = self._head
        data = self._data
        start = self._position + offset
        if length >= 0:
            end = start + length
            if end >= len(data):
                if length:
                    self._check_may_have_body(frame)
                self._await_body(frame, start, length)
                return None
            if data[end]:
                raise ProtocolError(
                    f"the body of a {frame.command} frame does not end after its content-length of {length} bytes"
                )
        else:
            end = data.find(b"\0", start)
            if end < 0:
                self._searched = len(data) - self._position
                self._check_body_length(self._searched - offset)
                self._keep_rest()
                return None
            self._check_body_length(end - start)
        frame.body = data[start:end]
        if end > start:
            self._check_may_have_body(frame)
        self._position = end + 1
        self._fresh = False
        if end - start > _BIG and end - start > len(data) - end:
            # The chunk was mostly this body; do not hold it twice until the next call.
            self._data = data[end + 1 :]
            self._position = 0
            self._blank_line = -1
        self._head = None
        self._searched = 0
        return frame

    def _await_body(self, frame: Frame, start: int, length: int) -> None:
        """Keep what is there of a body that begins at *start*, until the rest has come."""
        data = self._data
        self._head = (frame, start - self._position, length)
        self._head_bytes = data[self._position : start]
        self._parts = [data[start:]]
        self._missing = start + length + 1 - len(data)
        self._data = b""
        self._position = 0

    def _join_body(self) -> Frame:
        """The frame whose body is in pieces, now that all of them are there."""
        assert self._head is not None
        frame, _, length = self._head
        last = self._parts[-1]
        end = len(last) + self._missing - 1  # where the closing NUL stands
        if last[end]:
            raise ProtocolError(
                f"the body of a {frame.command} frame does not end after its content-length of {length} bytes"
            )
        frame.body = b"".join((*self._parts[:-1], memoryview(last)[:end]))
        self._parts = []
        self._fresh = False
        self._new_frame()
        self._data = bytes(last)
        self._position = end + 1
        return frame

    def _check_may_have_body(self, frame: Frame) -> None:
        if frame.command not in COMMANDS_WITH_BODY and self._version != "1.0":
            raise ProtocolError(f"a {frame.command} frame must not have a body (STOMP 1.2, Body)")


def _end_of_eols(data: bytes | bytearray, start: int) -> int:
    """Where the line ends that begin at *start* are over. A CR whose LF has not come yet is not passed over."""
    found = _NO_EOL.search(data, start)
    return len(data) if found is None else found.start()
