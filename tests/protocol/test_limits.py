"""The limits of `FrameBuffer`, and that neither work nor memory runs away below them.

Work is counted, not timed: calls into Python and C for n and for 2n pieces, and bytes allocated. Both are the same
on every machine.
"""

from __future__ import annotations

import gc
import re
import sys
import tracemalloc
import types
import typing

import pytest

from stomp_web.errors import ProtocolError
from stomp_web.protocol import Frame, FrameBuffer
from stomp_web.protocol.head import BLANK_LINE

from .feeding import VERSIONS, read, read_one, refuse, sliced

# -- header bytes ----------------------------------------------------------------------------------------------------


def test_the_limits_have_defaults_and_can_be_read() -> None:
    buffer = FrameBuffer()

    assert (buffer.max_header_bytes, buffer.max_headers, buffer.max_body_bytes) == (65_536, 1_000, 134_217_728)


@pytest.mark.parametrize("version", VERSIONS)
def test_command_and_header_lines_may_have_max_header_bytes_and_not_one_more(version: str) -> None:
    head = b"SEND\na:" + b"x" * 93
    assert len(head) == 100

    assert read_one(head + b"\n\nbody\0", version, max_header_bytes=100) == Frame("SEND", {"a": "x" * 93}, b"body")
    assert "100 bytes" in refuse(head + b"x\n\nbody\0", version, max_header_bytes=100)


def test_cr_lf_counts_as_it_stands_on_the_wire() -> None:
    head = b"SEND\r\na:" + b"x" * 91 + b"\r"
    assert len(head) == 100

    assert read_one(head + b"\n\r\nbody\0", max_header_bytes=100).headers == {"a": "x" * 91}
    refuse(b"SEND\r\na:x" + b"x" * 91 + b"\r\n\r\nbody\0", max_header_bytes=100)


def test_every_frame_has_the_whole_limit_and_heart_beats_do_not_count() -> None:
    data = b"\n" * 200 + b"SEND\na:" + b"x" * 93 + b"\n\nbody\0"

    assert len(read(data * 3, max_header_bytes=100)) == 3


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    assert "100 bytes" in refuse(b"SEND\na:" + b"x" * 100, max_header_bytes=100)


def test_a_body_without_a_head_before_it_is_not_taken_for_one() -> None:
    """A blank line far behind the limit does not help."""
    refuse(b"SEND\na:" + b"x" * 1000 + b"\n\n\0", max_header_bytes=100)
    refuse(b"SEND\r\na:" + b"x" * 1000 + b"\r\n\r\n\0", max_header_bytes=100)


@pytest.mark.parametrize("version", VERSIONS)
def test_limits_may_be_as_large_as_a_number_can_be(version: str) -> None:
    limits = dict.fromkeys(("max_header_bytes", "max_headers", "max_body_bytes"), sys.maxsize)

    assert len(read(b"MESSAGE\na:b\n\nbody\0" * 2, version, **limits)) == 2


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("limit", range(13))
def test_a_limit_below_the_length_of_a_command_refuses_all_that_it_cannot_hold(limit: int, tolerant: bool) -> None:
    refuse(b"UNSUBSCRIBES\n\n\0", max_header_bytes=limit, tolerant=tolerant)
    if tolerant:
        frame = read_one(b"UNSUBSCRIBE\na:b\n\n\0", max_header_bytes=limit, tolerant=True)
        assert (frame.headers, frame.truncated) == ({}, True)
    else:
        refuse(b"UNSUBSCRIBE\na:b\n\n\0", max_header_bytes=limit)


def test_a_large_limit_is_a_limit_too() -> None:
    value = "x" * 2_000_000
    buffer = FrameBuffer(max_header_bytes=4_000_000)
    for piece in sliced(f"SEND\na:{value}\n\n\0".encode(), 65_536):
        buffer.append(piece)
        found = buffer.extract_frame()
    assert found == Frame("SEND", {"a": value})


# -- header count ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_frame_may_have_max_headers_and_not_one_more(end: bytes) -> None:
    def frame(count: int) -> bytes:
        return b"SEND" + end + b"".join(b"%d:x%b" % (number, end) for number in range(count)) + end + b"\0"

    assert len(read_one(frame(20), max_headers=20).headers) == 20
    assert "20 headers" in refuse(frame(21), max_headers=20)


def test_repeated_headers_count() -> None:
    refuse(b"SEND\n" + b"a:b\n" * 21 + b"\n\0", max_headers=20)


def test_max_headers_may_be_none_at_all() -> None:
    assert read_one(b"DISCONNECT\n\n\0", max_headers=0) == Frame("DISCONNECT")
    refuse(b"DISCONNECT\nreceipt:1\n\n\0", max_headers=0)


# -- body bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stated", [b"", b"content-length:%d\n"])
def test_a_body_may_have_max_body_bytes_and_not_one_more(stated: bytes, version: str) -> None:
    def frame(length: int) -> bytes:
        head = stated % length if stated else b""
        return b"SEND\n" + head + b"\n" + b"x" * length + b"\0"

    assert [len(found.body) for found in read(frame(50) * 2, version, max_body_bytes=50)] == [50, 50]
    assert "50 bytes" in refuse(frame(51), version, max_body_bytes=50)


def test_a_body_of_nothing_but_nuls_may_have_the_limit() -> None:
    data = b"SEND\ncontent-length:50\n\n" + b"\0" * 51

    assert [len(found.body) for found in read(data * 2, max_body_bytes=50)] == [50, 50]


def test_a_content_length_over_the_limit_is_refused_before_the_body_comes() -> None:
    assert "50 bytes" in refuse(b"SEND\ncontent-length:51\n\n", max_body_bytes=50)


@pytest.mark.parametrize("digits", [19, 20, 21, 5_000, 60_000])
def test_a_content_length_of_very_many_digits_is_refused_like_any_other(digits: int) -> None:
    """Python refuses to make an int of more than 4,300 digits, and would take long over fewer."""
    assert "limit" in refuse(b"SEND\ncontent-length:" + b"9" * digits + b"\n\n\0")


def test_a_body_that_never_ends_is_refused_at_the_limit() -> None:
    buffer = FrameBuffer(max_body_bytes=1000)
    buffer.append(b"SEND\n\n")
    with pytest.raises(ProtocolError, match="1000 bytes"):  # noqa: PT012
        for _ in range(1001):
            buffer.append(b"x")
            assert buffer.extract_frame() is None


def test_a_limit_of_zero_means_no_body() -> None:
    assert read_one(b"SEND\n\n\0", max_body_bytes=0).body == b""
    refuse(b"SEND\n\nx\0", max_body_bytes=0)


# -- memory ----------------------------------------------------------------------------------------------------------

MIB = 1024 * 1024


class _Memory:
    """Bytes allocated since `start`: what is held now, and the most that was held."""

    def start(self) -> None:
        gc.collect()
        self._base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()

    @property
    def held(self) -> int:
        return tracemalloc.get_traced_memory()[0] - self._base

    @property
    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self._base


@pytest.fixture
def memory() -> typing.Iterator[_Memory]:
    tracemalloc.start()
    memory = _Memory()
    memory.start()
    yield memory
    tracemalloc.stop()


@pytest.mark.parametrize("beat", [b"\n", b"\r\n"])
def test_a_flood_of_heart_beats_costs_no_memory(beat: bytes, memory: _Memory) -> None:
    flood = beat * 200_000
    for cut in (len(flood), 65_536, 65_535):
        buffer = FrameBuffer()
        pieces = sliced(flood, cut)
        memory.start()
        for piece in pieces:
            buffer.append(piece)
            assert buffer.extract_frame() is None
        assert memory.peak < 2 * len(flood)
        assert memory.held < 10_000


@pytest.mark.parametrize("stated", [b"", b"content-length:%d\n" % MIB])
@pytest.mark.parametrize("after", [b"", b"\n", b"\nMESSAGE\n\nnext\0"])
def test_a_big_body_is_held_by_its_frame_alone(stated: bytes, after: bytes, memory: _Memory) -> None:
    data = b"MESSAGE\n" + stated + b"\n" + b"x" * MIB + b"\0" + after
    for cut in (len(data), 65_536):
        buffer = FrameBuffer()
        memory.start()
        frame = None
        for start in range(0, len(data), cut):
            buffer.append(memoryview(data)[start : start + cut])
            frame = buffer.extract_frame() or frame
        assert frame is not None
        assert len(frame.body) == MIB
        assert memory.held < MIB + 100_000
        assert memory.peak < 3 * MIB


def test_what_follows_a_big_body_in_the_same_piece_is_read() -> None:
    small = b"".join(b"MESSAGE\nn:%s\n\n\n\n\0\n" % (b"x" * number) for number in range(20))
    data = b"MESSAGE\na:b\n\n" + b"y" * 70_000 + b"\0" + small

    assert [len(frame.headers.get("n", "-")) for frame in read(data)] == [1, *range(20)]


def test_an_append_does_not_move_the_frames_that_wait(memory: _Memory) -> None:
    """Else taking out one frame for each that comes would cost the square of the backlog."""
    frame = b"MESSAGE\r\n\r\n" + b"x" * 1000 + b"\0"
    buffer = FrameBuffer()
    for _ in range(2):
        buffer.append(frame * 1000)
        buffer.extract_frame()
    memory.start()
    for _ in range(10):
        buffer.append(frame)
        assert buffer.extract_frame() is not None
    assert memory.peak < 200_000
    assert sum(1 for _ in buffer) == 1998


def test_a_refused_stream_leaves_nothing_behind(memory: _Memory) -> None:
    buffer = FrameBuffer(max_body_bytes=MIB)
    with pytest.raises(ProtocolError):  # noqa: PT012
        buffer.append(b"SEND\n\n")
        for _ in range(20):
            buffer.append(b"x" * 65_536)
            buffer.extract_frame()
    for _ in range(20):
        buffer.append(b"x" * 65_536)
    assert memory.held < 100_000


# -- work ------------------------------------------------------------------------------------------------------------


def _calls(work: typing.Callable[[], object]) -> int:
    """How many calls, into Python and into C, *work* makes."""
    count = 0

    def profile(_frame: types.FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


LF = b"SEND\na:b\n\nbody\0"
CRLF = b"SEND\r\na:b\r\n\r\nbody\0"
LF_IN_BODY = b"SEND\r\ncontent-length:4\r\n\r\n\n\n\n\n\0"
ROOM = {"max_header_bytes": 10**9, "max_headers": 10**9}

# A stream for n, and the size of the pieces it comes in (None: one piece).
SHAPES: dict[str, tuple[typing.Callable[[int], bytes], int | None]] = {
    "frames in one piece": (lambda n: LF * n, None),
    "CR LF frames in one piece": (lambda n: CRLF * n, None),
    "mixed frames in one piece": (lambda n: (CRLF + LF) * n, None),
    "CR LF frames with blank lines in their bodies": (lambda n: LF_IN_BODY * n, None),
    "frames byte by byte": (lambda n: LF * n, 1),
    "CR LF frames in small pieces": (lambda n: CRLF * n, 7),
    "heart-beats in one piece": (lambda n: b"\n" * n + LF, None),
    "heart-beats byte by byte": (lambda n: b"\r\n" * n + LF, 1),
    "a head of one long line, byte by byte": (lambda n: b"SEND\na:" + b"x" * n + b"\n\n\0", 1),
    "a head of short lines, byte by byte": (lambda n: b"SEND\r\n" + b"a:\r\n" * n + b"\r\n\0", 1),
    "a header of escapes": (lambda n: b"SEND\na:" + b"\\c" * n + b"\n\n\0", 3),
    "a head of carriage returns": (lambda n: b"SEND\na:" + b"\r" * n, 3),
    "a body of NULs byte by byte": (lambda n: b"SEND\ncontent-length:%d\n\n" % n + b"\0" * n + b"\0", 1),
    "a body without content-length byte by byte": (lambda n: b"SEND\n\n" + b"\n" * n + b"\0", 1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_input_is_at_most_twice_the_calls(shape: str) -> None:
    make, size = SHAPES[shape]

    def calls(n: int) -> int:
        data = make(n)
        pieces = [data] if size is None else sliced(data, size)
        buffer = FrameBuffer(**ROOM)  # type: ignore[arg-type]

        def work() -> None:
            for piece in pieces:
                buffer.append(piece)
                while buffer.extract_frame() is not None:
                    pass

        return _calls(work)

    assert calls(400) <= 2 * calls(200) + 20


@pytest.mark.parametrize(
    "frame", [b"RECEIPT\nreceipt-id:1\n\n\0", b"MESSAGE\nmessage-id:1\ncontent-length:4\n\nbody\0"]
)
def test_the_line_feed_behind_a_frame_costs_nothing(frame: bytes) -> None:
    def calls(data: bytes) -> int:
        buffer = FrameBuffer()

        def work() -> None:
            for _ in range(100):
                buffer.append(data)
                assert buffer.extract_frame() is not None

        return _calls(work)

    assert calls(frame + b"\n") <= calls(frame)


class _CountingPattern:
    """A pattern that counts the bytes that it may look at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.bytes = 0

    def search(self, data: bytes, start: int, end: int = sys.maxsize) -> re.Match[bytes] | None:
        found = self.pattern.search(data, start, end)
        self.bytes += (min(end, len(data)) if found is None else found.end()) - start
        return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_head_is_searched_for_its_end_once_however_small_its_pieces(
    size: int, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = _CountingPattern(BLANK_LINE[version])
    monkeypatch.setitem(BLANK_LINE, version, pattern)
    data = b"SEND\n" + b"a:b\n" * 500 + b"\n\0"
    buffer = FrameBuffer(version)
    for piece in sliced(data, size):
        buffer.append(piece)
        buffer.extract_frame()
        buffer.version = version  # as the development broker does after every frame

    # Two bytes are looked at again for each piece, lest the end be missed that was cut through.
    assert pattern.bytes <= len(data) + 2 * (len(data) // size + 2)
