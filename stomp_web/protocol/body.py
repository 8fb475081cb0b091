"""A reader for the body of a frame, and the checks of the body's length.

The header ``content-length`` is the number of bytes in the body. Without this header, the first NUL ends the body.
"""

from __future__ import annotations

from ..errors import ProtocolError
from .frame import COMMANDS_WITH_BODY, Frame, UnreadableFrame

__all__ = ["BodyReader", "check_body", "read_length", "wrong_length"]

_SMALL = 4_096  # bytes; smaller pieces are joined, because a million objects would take a lot of memory
_BIG = 65_536  # bytes; pieces are joined up to this size
_MOST_DIGITS = 20  # digits of a content-length; a longer number exceeds any limit


def read_length(stated: str, command: str, version: str) -> int:
    """Return the value of a ``content-length`` header as an ``int``. *stated* is the value as a text.

    Raises `ProtocolError` if the value is not a number, or has more than 20 digits.
    """
    if version == "1.0":
        stated = stated.strip(" ")  # the examples of STOMP 1.0 have a space after the colon
    if not (stated.isdigit() and stated.isascii()):
        raise ProtocolError(f"the content-length of a {command} frame is not a number: {stated[:40]!r}")
    if len(stated) > _MOST_DIGITS:
        raise ProtocolError(f"the content-length of a {command} frame exceeds any limit: it has {len(stated)} digits")
    return int(stated)


def wrong_length(frame: Frame) -> ProtocolError:
    """Return the exception for *frame*, whose body does not end after ``content-length`` bytes."""
    stated = frame.headers["content-length"]
    return ProtocolError(f"the body of a {frame.command} frame does not end after its content-length of {stated} bytes")


def check_body(frame: Frame, length: int, limit: int | None, version: str) -> None:
    """Check the body of *frame*, which has *length* bytes. Raises `UnreadableFrame` if *length* exceeds *limit*.

    Raises `ProtocolError` for a body if the command allows no body. In STOMP 1.0, every command allows a body.
    """
    if length and frame.command not in COMMANDS_WITH_BODY and version != "1.0":
        raise ProtocolError(f"a {frame.command} frame must not have a body (STOMP 1.2, Body)")
    if limit is not None and length > limit:
        raise UnreadableFrame(f"a frame's body exceeds the limit of {limit} bytes")


class BodyReader:
    """A reader for the rest of one frame, from the first byte of the body to the closing NUL.

    *length* is the content-length, or ``None``. If *truncate* is true, the reader cuts the body at *limit*.
    If *truncate* is false, the body must not exceed *limit*. Without *length*, `read` raises `UnreadableFrame` for a
    larger body. With *length*, the caller must call `check_body` before `read`.
    """

    __slots__ = ("_frame", "_head", "_length", "_limit", "_pieces", "_truncate", "_version", "frame", "missing", "size")

    def __init__(
        self, frame: Frame, head: bytes, length: int | None, limit: int, version: str, *, truncate: bool = False
    ) -> None:
        self._frame = frame
        self._head = head
        self._length = length
        self._limit = limit
        self._version = version
        self._truncate = truncate
        self._pieces: list[bytes | bytearray] = []
        #: The number of bytes of the body that have come, including the bytes beyond the limit.
        self.size = 0
        #: The number of missing bytes of the body, or 0 if the number is not known.
        self.missing = length or 0
        #: The complete frame, or ``None`` before `read` has reached its end.
        self.frame: Frame | None = None

    def __len__(self) -> int:
        """Return the number of bytes that the reader keeps."""
        return len(self._head) + min(self.size, self._limit)

    def kept(self) -> bytes:
        """Return the kept bytes of the incomplete frame: the head, and the body up to the limit."""
        return b"".join((self._head, *self._pieces))

    def read(self, data: bytes, position: int) -> int:
        """Read *data* from *position*, and return the position after the frame.

        If the end of the frame has not come yet, return ``len(data)``.
        """
        end = data.find(b"\0", position) if self._length is None else position + self.missing
        complete = 0 <= end < len(data)
        stop = end if complete else len(data)
        size = self.size + stop - position
        if self._length is None or self._truncate:
            check_body(self._frame, size, None if self._truncate else self._limit, self._version)
        if not (complete or position) and size <= self._limit:  # a whole chunk: no copy
            self.add(data)
            return stop
        piece = memoryview(data)[position:stop]
        if size > self._limit:
            piece = piece[: max(self._limit - self.size, 0)]
        if not complete:
            self.add(bytes(piece))
        elif data[end]:
            raise wrong_length(self._frame)
        else:
            self._frame.body = b"".join((*self._pieces, piece))
            self.frame = self._frame
        self.missing -= size - self.size
        self.size = size
        return end + 1 if complete else stop

    def add(self, piece: bytes) -> None:
        """Keep the next bytes of the body. With a content-length, *piece* must not be longer than `missing`."""
        size = len(piece)
        self.size += size
        self.missing -= size
        pieces = self._pieces
        if size >= _SMALL:
            pieces.append(piece)
        elif pieces and type(last := pieces[-1]) is bytearray and len(last) < _BIG:
            last += piece
        else:
            pieces.append(bytearray(piece))
