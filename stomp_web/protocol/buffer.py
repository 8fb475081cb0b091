"""Bytes to frames: a buffer that is fed with bytes, however they were cut, and gives out frames.

The goals, in this order:

1. What comes out is what went in, for every cut of the bytes and every version.
2. Time is linear in the bytes for every input, hostile ones too. No byte is searched twice for the same thing.
3. Memory is bounded: what is kept is at most one frame that is not complete yet (within the limits) and the
   bytes appended since the last frame was taken out.
4. The common case, a chunk of whole frames, runs through C code: one search for the blank line, one decode of the
   head, one slice of the body. It leaves nothing behind that the next chunk would have to be joined with.

From that follow the states. Frames are cut from an immutable chunk, `_data`, at `_position`. Where the chunk ends in
the middle of a frame, the beginning of the frame is kept in one of two ways, and `_data` is read to its end:

* `_head`, a beginning without its blank line. It grows by what comes, and all of it was searched;
* `_reader`, a `BodyReader` for a frame whose head was read, or a `TolerantReader` for one that was found at fault.

Bytes that are appended before `_data` was read to its end wait in `_later`, so that no append moves a backlog.
"""

from __future__ import annotations

import re
import sys
import typing

from ..errors import ProtocolError
from .body import BodyReader, check_body, read_length, wrong_length
from .frame import COMMANDS_WITH_BODY, Frame
from .head import (
    BLANK_LINE,
    LONGEST_COMMAND_LINE,
    NoCommand,
    UnreadableFrame,
    check_beginning,
    end_of_eols,
    parse_head,
)
from .tolerant import TolerantReader
from .versions import check_version

__all__ = ["FrameBuffer"]

_ORDINARY = 4_096  # bytes; a head that may be longer is searched for its end once more, also for one with CR LF
_BIG = 65_536  # bytes; the rest of a chunk behind a body of more is copied, so that the body is not held twice


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
            if not isinstance(self._reader, TolerantReader):
                self._begin_again()  # what is known of the next frame was read by the version before

    def clear(self) -> None:
        """Forget everything, as for a new connection. The version and the limits stay."""
        self._first = True  # no frame was taken out yet
        self._head = bytearray()
        self._reader: BodyReader | TolerantReader | None = None
        self._later = bytearray()
        self._problem: str | None = None
        self._set_data(b"")

    def _set_data(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._blank_line = -1  # where in `_data` the next b"\n\n" stands, if that was already searched

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Take in *data*, the next bytes of the stream.

        It only stores them; what is wrong with them is said by `extract_frame`. Take the frames out after each
        call: that is what keeps the memory within the limits. After a `ProtocolError` it stores nothing, until
        `clear`.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._position < len(self._data) or self._later:
            self._later += data
        elif self._reader is not None and len(data) < self._reader.missing:
            self._reader.add(data)
        elif self._problem is None:
            self._data = data
            self._position = 0
            self._blank_line = -1

    def __len__(self) -> int:
        """How many bytes wait here for the rest of their frame, or to be taken out as frames."""
        reader = self._reader
        return (
            len(self._data)
            - self._position
            + len(self._later)
            + len(self._head)
            + (len(reader) if reader is not None else 0)
        )

    def __iter__(self) -> typing.Iterator[Frame]:
        """Take out every frame that is complete, one after the other. Raises `ProtocolError`.

        The frames before a malformed one are given out first. Take them one by one: code that
        collects them all at once, as ``list`` does, loses them to the exception.
        """
        while (frame := self.extract_frame()) is not None:
            yield frame

    def extract_frame(self) -> Frame | None:
        """Take out the next frame; ``None`` if it is not complete yet.

        Line ends between frames - heart-beats - are passed over.

        Raises `ProtocolError` if the bytes are not STOMP or exceed a limit, once the frames before were taken out; a
        tolerant buffer only where the end of a frame cannot be found. The stream is then out of step for good: every
        later call raises it again, until `clear`.
        """
        while True:
            if self._position == len(self._data):
                if self._later:
                    self._set_data(bytes(self._later))
                    self._later.clear()
                elif self._problem is None:
                    self._data = b""
                    self._position = 0
                    return None
                else:
                    raise ProtocolError(self._problem)
            try:
                frame = self._cut() if self._reader is None else self._read_on()
            except NoCommand as error:
                # The beginning of a stream tells what answers there ("HTTP/1.1 400"). Later it may be part of a body.
                problem = f"{error}, but begins with {error.line!r}" if self._first else str(error)
            except UnreadableFrame as error:
                if self.tolerant:
                    self._begin_again()
                    limits = self.max_header_bytes, self.max_headers, self.max_body_bytes
                    self._reader = TolerantReader(self._version, *limits)
                    continue
                problem = str(error)
            except ProtocolError as error:
                problem = str(error)
            else:
                if frame is None:
                    continue
                self._first = False
                end = self._position
                if end < len(self._data) and self._data[end] == 10:  # brokers write a line feed behind each frame
                    self._position = end + 1
                return frame
            self.clear()
            self._problem = problem

    def take_matches(self, whole: re.Pattern[bytes], each: re.Pattern[bytes]) -> list[bytes]:
        """Take out all that is here at once, if it matches *whole*: return what each match of *each* has in its group.

        This is for a caller that awaits many frames of one known form and can compare them as bytes. An empty list
        means that nothing was taken out.
        """
        start = end_of_eols(self._data, self._position)
        if self._later or self._head or self._reader is not None or whole.fullmatch(self._data, start) is None:
            return []
        found = each.findall(self._data, start)
        self._set_data(b"")
        self._first = False
        return found

    def _cut(self) -> Frame | None:
        """Cut the next frame from `_data`; ``None`` if the chunk ends before it, and its beginning is kept."""
        if self._head and not self._head_may_be_complete():
            return None
        data = self._data
        start = self._position
        if data[start] <= 13:  # it may be a line end; a frame begins with a letter
            start = self._position = end_of_eols(data, start)
            if start == len(data):
                return None
        # The blank line is searched once per chunk, not once per frame: with CR LF line ends there may be none.
        head_end = self._blank_line
        if head_end < start:
            head_end = data.find(b"\n\n", start)
            if head_end < 0:
                head_end = sys.maxsize
            self._blank_line = head_end
        body_start = head_end + 2
        size = head_end - start
        if size > _ORDINARY or size > self.max_header_bytes or b"\r" in (head := data[start:head_end]):
            span = self._search_blank_line(start)
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
        if not 0 <= end < len(data):
            self._await_body(frame, data[start:body_start], length)
            return None
        if data[end]:
            raise wrong_length(frame)
        size = end - body_start
        if size and (size > self.max_body_bytes or frame.command not in COMMANDS_WITH_BODY):
            check_body(frame, size, self.max_body_bytes, self._version)
        frame.body = data[body_start:end]
        self._position = end + 1
        if size > _BIG and size > len(data) - end:
            self._set_data(data[end + 1 :])  # the chunk was mostly this body: do not hold it twice
        return frame

    def _await_body(self, frame: Frame, head: bytes, length: int | None) -> None:
        """Keep the frame that begins at `_position` with *head*, until the rest of its body has come."""
        reader = BodyReader(frame, head, length, self.max_body_bytes, self._version)
        start = self._position + len(head)
        if length is None:
            reader.read(self._data, start)
        else:
            check_body(frame, length, self.max_body_bytes, self._version)
            reader.add(self._data[start:])
        self._reader = reader
        self._set_data(b"")

    def _read_on(self) -> Frame | None:
        """Read on in the frame whose reader is there; ``None`` if the chunk ends before it."""
        assert self._reader is not None
        self._position = self._reader.read(self._data, self._position)
        frame = self._reader.frame
        if frame is not None:
            self._reader = None
        return frame

    # -- a frame that has begun in an earlier chunk -----------------------------------------------------------

    @property
    def _longest_head(self) -> int:
        """How many bytes may come without a blank line among them."""
        return max(self.max_header_bytes + len("\n\r"), LONGEST_COMMAND_LINE)

    def _search_blank_line(self, start: int) -> tuple[int, int] | None:
        """Return where the blank line begins and ends behind the head at *start*, which is out of the ordinary.

        It may have CR LF line ends. If it is not complete, it is kept in `_head`, and the answer is ``None``.
        """
        data = self._data
        most = self._longest_head
        found = BLANK_LINE[self._version].search(data, start, min(start + most + 1, len(data)))
        if found is not None and found.start() - start <= self.max_header_bytes:
            return found.span()
        # Only a frame with a command can be read by a tolerant reader.
        check_beginning(data[start : start + LONGEST_COMMAND_LINE], self._version)
        if found is not None or len(data) - start > most:
            raise UnreadableFrame(f"a frame's headers exceed the limit of {self.max_header_bytes} bytes")
        self._head += memoryview(data)[start:]
        self._set_data(b"")
        return None

    def _head_may_be_complete(self) -> bool:
        """Add the chunk to `_head`. If the head may be complete now, all of it is in `_data`."""
        head = self._head
        known = len(head)
        if known > len(self._data) and known + len(self._data) <= self._longest_head:
            head += self._data
            self._set_data(b"")
            if known < LONGEST_COMMAND_LINE:
                check_beginning(bytes(head[:LONGEST_COMMAND_LINE]), self._version)
            # From two bytes before, so that a blank line is not missed that was cut through.
            if BLANK_LINE[self._version].search(head, known - 2) is None:
                return False
        self._begin_again()  # one copy, and no more is searched again than has come
        return True

    def _begin_again(self) -> None:
        """Put all that is kept of a frame that has begun before the rest of the chunk, to read it from its first byte."""
        begun = self._head if self._reader is None else self._reader.kept()
        if begun:
            self._set_data(b"".join((begun, memoryview(self._data)[self._position :])))
            self._head = bytearray()
            self._reader = None
