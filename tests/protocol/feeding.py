"""Feeds a stream to a buffer in every way it can be cut, and insists that the way makes no difference.

Every test of `FrameBuffer` that reads through `read` or `refuse` is thereby a test of its cuts too.
"""

from __future__ import annotations

import itertools
import typing

import pytest

from stomp_web.errors import ProtocolError
from stomp_web.protocol import Frame, FrameBuffer

VERSIONS = ("1.0", "1.1", "1.2")
ESCAPING = ("1.1", "1.2")

#: What `Frame.__eq__` compares, and the content-length, which it leaves out.
Parts = tuple[str, dict[str, str], bytes]


def parts(frame: Frame) -> Parts:
    return frame.command, frame.headers, frame.body


def feed(buffer: FrameBuffer, pieces: typing.Iterable[bytes]) -> tuple[list[Frame], str | None]:
    """Return the frames that *pieces* make, and what the buffer said when it refused to go on."""
    frames: list[Frame] = []
    for piece in pieces:
        buffer.append(piece)
        try:
            frames.extend(_draining(buffer))
        except _RefusedError as refused:
            frames.extend(refused.frames)
            return frames, refused.error
    return frames, None


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def cut_at(data: bytes, positions: typing.Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def read(data: bytes, version: str = "1.2", **limits: int) -> list[Frame]:
    """Return the frames in *data*, the same for every cut, or fail."""
    frames, error = _every_way(data, version, limits)
    assert error is None, error
    return frames


def read_one(data: bytes, version: str = "1.2", **limits: int) -> Frame:
    (frame,) = read(data, version, **limits)
    return frame


def refuse(data: bytes, version: str = "1.2", *, after: int = 0, **limits: int) -> str:
    """Return why *data* is refused, for every cut, once *after* frames were read."""
    frames, error = _every_way(data, version, limits)
    assert error is not None, f"{frames} were read"
    assert len(frames) == after
    return error


def _every_way(data: bytes, version: str, limits: dict[str, int]) -> tuple[list[Frame], str | None]:
    ways = [[data], *(sliced(data, size) for size in (1, 2, 3, 7))]
    if len(data) < 300:
        ways += [cut_at(data, [position]) for position in range(1, len(data))]
    frames, error = feed(FrameBuffer(version, **limits), ways[0])
    for way in ways[1:]:
        other, other_error = feed(FrameBuffer(version, **limits), way)
        assert [parts(frame) for frame in other] == [parts(frame) for frame in frames], way
        assert (other_error is None) == (error is None), (way, error, other_error)
    return frames, error


class _RefusedError(Exception):
    def __init__(self, frames: list[Frame], error: str) -> None:
        self.frames = frames
        self.error = error


def _draining(buffer: FrameBuffer) -> list[Frame]:
    frames: list[Frame] = []
    while True:
        try:
            frame = buffer.extract_frame()
        except ProtocolError as error:
            # It stays refused, and holds nothing of the stream any more.
            assert len(buffer) == 0
            with pytest.raises(ProtocolError):
                buffer.extract_frame()
            raise _RefusedError(frames, str(error)) from None
        if frame is None:
            return frames
        frames.append(frame)
