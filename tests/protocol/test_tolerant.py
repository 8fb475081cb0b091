"""A tolerant `FrameBuffer`: a frame tells what is wrong with its content, and the frames after it are read."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stomp_web.errors import ProtocolError
from stomp_web.protocol import Frame, FrameBuffer

from .feeding import VERSIONS, feed, parts, sliced
from .test_limits import _calls

GOOD = b"MESSAGE\nmessage-id:good\n\nbody\0\n"
MIB = 1024 * 1024


def read(data: bytes, version: str = "1.2", **limits: int) -> list[Frame]:
    """The frames in *data*, the same for every cut and with the same defects; *data* is read to its end."""
    found = None
    for size in (len(data), 1, 2, 3, 7, 64):
        buffer = FrameBuffer(version, tolerant=True, **limits)  # type: ignore[arg-type]
        frames, error = feed(buffer, sliced(data, size))
        assert error is None, error
        assert not buffer
        assert len(buffer) == 0
        shown = [(parts(frame), frame.defects, frame.truncated) for frame in frames]
        assert found is None or shown == found, size
        found = shown
    return frames


def read_between_good_ones(data: bytes, version: str = "1.2", **limits: int) -> Frame:
    before, frame, after = read(GOOD + data + GOOD, version, **limits)
    assert before.headers["message-id"] == after.headers["message-id"] == "good"
    assert not before.defects
    assert not after.defects
    return frame


def test_a_buffer_is_strict_unless_it_is_told_otherwise() -> None:
    assert not FrameBuffer().tolerant

    buffer = FrameBuffer()
    buffer.append(GOOD + b"MESSAGE\na:\xff\n\n\0")
    assert buffer.extract_frame() == Frame("MESSAGE", {"message-id": "good"}, b"body")
    with pytest.raises(ProtocolError, match="UTF-8"):
        buffer.extract_frame()


def test_a_frame_without_a_fault_has_no_defects() -> None:
    (frame,) = read(GOOD)

    assert frame.defects == ()
    assert not frame.truncated
    assert Frame("SEND").defects == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_that_are_not_utf8_become_replacement_characters(version: str) -> None:
    frame = read_between_good_ones(b"MESSAGE\nmessage-id:1\ncity:K\xf6ln\nn\xff:x\n\nhi\0", version)

    assert frame == Frame("MESSAGE", {"message-id": "1", "city": "K\ufffdln", "n\ufffd": "x"}, b"hi")
    assert len(frame.defects) == 1
    assert "UTF-8" in frame.defects[0]
    assert not frame.truncated


@pytest.mark.parametrize("version", VERSIONS)
def test_a_nul_in_a_header_becomes_a_replacement_character(version: str) -> None:
    frame = read_between_good_ones(b"MESSAGE\nn\0l:a\0b\ncontent-length:3\n\n\0\0\0\0", version)

    assert frame == Frame("MESSAGE", {"n\ufffdl": "a\ufffdb"}, b"\0\0\0")
    assert "NUL" in frame.defects[0]


@pytest.mark.parametrize(("version", "escape"), [("1.1", "\\r"), ("1.1", "\\t"), ("1.2", "\\t"), ("1.2", "\\")])
def test_an_undefined_escape_stays_as_it_came(version: str, escape: str) -> None:
    frame = read_between_good_ones(f"MESSAGE\na:x{escape}\nb:y\\c\n\n\0".encode(), version)

    assert frame.headers == {"a": f"x{escape}", "b": "y:"}
    assert version in frame.defects[0]


@pytest.mark.parametrize(("line", "word"), [(b"nothing", "colon"), (b":value", "name")])
def test_a_line_that_is_no_header_is_left_out(line: bytes, word: str) -> None:
    frame = read_between_good_ones(b"MESSAGE\na:1\n" + line + b"\nb:2\n\nx\0")

    assert frame == Frame("MESSAGE", {"a": "1", "b": "2"}, b"x")
    assert word in frame.defects[0]
    assert not frame.truncated


def test_a_carriage_return_that_ends_no_line_stays() -> None:
    frame = read_between_good_ones(b"MESSAGE\r\na:x\ry\r\n\r\nx\0")

    assert frame.headers == {"a": "x\ry"}
    assert "carriage return" in frame.defects[0]


def test_each_kind_of_defect_is_told_once() -> None:
    frame = read_between_good_ones(b"MESSAGE\n" + b"a\xff:\0\n" * 5 + b"bad\n" * 5 + b"\n\0")

    assert len(frame.defects) == 3


def test_the_first_of_repeated_headers_counts_here_too() -> None:
    frame = read_between_good_ones(b"MESSAGE\nack:1\na:1\nack:2\na:2\nb:\xff\n\n\0")

    assert frame.headers == {"ack": "1", "a": "1", "b": "\ufffd"}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("stated", [b"", b"content-length:2"])
def test_of_a_head_over_the_limit_what_is_needed_is_kept(end: bytes, stated: bytes) -> None:
    lines = [b"MESSAGE", b"subscription:s", b"small:1", b"trace:" + b"x" * 3000, b"later:2", b"ack:7", b"message-id:m"]
    head = end.join([*lines, *([stated] if stated else [])])

    frame = read_between_good_ones(head + end * 2 + b"hi\0", max_header_bytes=300)

    assert frame == Frame("MESSAGE", {"subscription": "s", "small": "1", "ack": "7", "message-id": "m"}, b"hi")
    assert frame.truncated
    assert "300 bytes" in frame.defects[0]
    assert "max_header_bytes" in frame.defects[0]


def test_over_the_count_of_headers_what_is_needed_is_kept() -> None:
    many = b"".join(b"h%d:x\n" % number for number in range(30))

    frame = read_between_good_ones(b"MESSAGE\n" + many + b"ack:7\ncontent-length:1\n\n\0\0", max_headers=20)

    assert list(frame.headers) == [*(f"h{number}" for number in range(20)), "ack", "content-length"]
    assert frame.body == b"\0"
    assert frame.truncated
    assert "20 headers" in frame.defects[0]


@pytest.mark.parametrize("stated", [b"", b"content-length:5000\n"])
def test_a_body_over_the_limit_is_cut_there(stated: bytes) -> None:
    frame = read_between_good_ones(b"MESSAGE\nack:7\n" + stated + b"\n" + b"x" * 5000 + b"\0", max_body_bytes=100)

    assert frame.headers["ack"] == "7"
    assert frame.body == b"x" * 100
    assert frame.truncated
    assert "5000 bytes" in frame.defects[0]


def test_a_body_over_the_limit_may_hold_nuls_and_what_looks_like_frames() -> None:
    inside = (b"\0\n" + GOOD) * 50

    frame = read_between_good_ones(b"MESSAGE\ncontent-length:%d\n\n" % len(inside) + inside + b"\0", max_body_bytes=100)

    assert frame.body == inside[:100]


@pytest.mark.parametrize(
    ("lines", "first"), [(b"a:b\n" * 40, "20 headers"), (b"a:" + b"x" * 90 + b"\n" + b"a:\n" * 40, "100 bytes")]
)
def test_a_head_over_both_limits_tells_of_both(lines: bytes, first: str) -> None:
    frame = read_between_good_ones(b"MESSAGE\n" + lines + b"ack:7\n\n\0", max_header_bytes=100, max_headers=20)

    assert frame.headers["ack"] == "7"
    assert len(frame.defects) == 2
    assert first in frame.defects[0]


def test_needed_headers_that_are_too_long_are_left_out() -> None:
    frame = read_between_good_ones(
        b"MESSAGE\nack:7\nx-message-id:" + b"y" * 3000 + b"\nx-message-id:z\n\n\0", max_header_bytes=300
    )

    assert frame.headers == {"ack": "7"}


def test_a_long_needed_header_costs_no_short_one_behind_it() -> None:
    head = b"MESSAGE\njunk:" + b"j" * 1000 + b"\nx-message-id:" + b"y" * 980 + b"\nack:7\ncontent-length:3\n\n"

    frame = read_between_good_ones(head + b"a\0b\0", max_header_bytes=1000)

    assert list(frame.headers) == ["x-message-id", "ack", "content-length"]
    assert frame.body == b"a\0b"


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\n\n\0",
        b"MESSAGE\na:\xff\ncontent-length:abc\n\n\0",
        b"MESSAGE\na:\xff\ncontent-length:1\n\nxyz\0",
        b"MESSAGE\na:\xff\ncontent-length:" + b"9" * 30 + b"\n\n",
        b"MESSAGE\ncontent-length:" + b"9" * 3000 + b"\n\n",
        b"RECEIPT\na:\xff\n\nbody\0",
        b"G" * 3000,
        b"GARBAGE\n" + b"a:b\n" * 3000,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_frame_whose_end_cannot_be_found_is_refused_after_the_good_ones(data: bytes, size: int) -> None:
    buffer = FrameBuffer(tolerant=True, max_header_bytes=300)

    frames, error = feed(buffer, sliced(GOOD + data, size))

    assert [frame.headers["message-id"] for frame in frames] == ["good"]
    assert error is not None
    with pytest.raises(ProtocolError):
        buffer.extract_frame()


def test_a_frame_keeps_its_defects_when_it_is_copied() -> None:
    frame = read_between_good_ones(b"MESSAGE\na:\xff\n\n\0")

    for other in (copy.copy(frame), copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))):
        assert (other, other.defects, other.truncated) == (frame, frame.defects, False)


def test_another_version_applies_to_the_frame_after_the_one_that_has_begun() -> None:
    buffer = FrameBuffer("1.2", tolerant=True, max_header_bytes=300)
    buffer.append(b"MESSAGE\nack:a\\cb\nx:" + b"y" * 1000)
    assert buffer.extract_frame() is None
    buffer.version = "1.0"
    buffer.append(b"\nmessage-id:a\\cb\n\nhi\0MESSAGE\na:\\c\n\n\0")

    assert [frame.headers for frame in buffer] == [{"ack": "a:b", "message-id": "a:b"}, {"a": "\\c"}]


@pytest.mark.parametrize("shape", ["head", "headers", "body", "stated body"])
def test_memory_stays_within_the_limits_while_a_frame_is_passed_over(shape: str) -> None:
    piece = b"a:b\n" * 16_384 if shape == "headers" else b"x" * 65_536
    begin = {
        "head": b"MESSAGE\nack:1\na:",
        "headers": b"MESSAGE\nack:1\n",
        "body": b"MESSAGE\nack:1\n\n",
        "stated body": b"MESSAGE\nack:1\ncontent-length:%d\n\n" % (50 * len(piece)),
    }[shape]
    buffer = FrameBuffer(tolerant=True, max_body_bytes=100_000)
    tracemalloc.start()
    try:
        buffer.append(begin)
        for _ in range(50):
            buffer.append(piece)
            assert buffer.extract_frame() is None
            assert len(buffer) < 300_000
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    buffer.append(b"\0" if "body" in shape else b"\n\nbody\0")
    buffer.append(GOOD)

    frame, good = buffer

    assert frame.truncated
    assert frame.headers["ack"] == "1"
    assert good == Frame("MESSAGE", {"message-id": "good"}, b"body")


BAD = b"MESSAGE\na:\xff\n\nbody\0"
BAD_CRLF = b"MESSAGE\r\na:\xff\r\n\r\nbody\0"
OVER = b"MESSAGE\na:" + b"x" * 100 + b"\n\nbody\0"
SHAPES = {
    "bad frames in one piece": (lambda n: BAD * n, None),
    "bad CR LF frames in one piece": (lambda n: BAD_CRLF * n, None),
    "frames over the limit in one piece": (lambda n: OVER * n, None),
    "bad frames byte by byte": (lambda n: BAD * n, 1),
    "a long line, byte by byte": (lambda n: b"MESSAGE\na:" + b"x" * n + b"\n\n\0", 1),
    "many lines, byte by byte": (lambda n: b"MESSAGE\n" + b"a:\n" * n + b"\n\0", 1),
    "a long body, byte by byte": (lambda n: b"MESSAGE\na:\xff\n\n" + b"x" * n + b"\0", 1),
    "a long stated body, byte by byte": (
        lambda n: b"MESSAGE\na:\xff\ncontent-length:%d\n\n" % n + b"\0" * n + b"\0",
        1,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_input_is_at_most_twice_the_calls(shape: str) -> None:
    make, size = SHAPES[shape]

    def calls(n: int) -> int:
        data = make(n)
        pieces = [data] if size is None else sliced(data, size)
        buffer = FrameBuffer(tolerant=True, max_header_bytes=64, max_body_bytes=100)

        def work() -> None:
            for piece in pieces:
                buffer.append(piece)
                while buffer.extract_frame() is not None:
                    pass

        return _calls(work)

    assert calls(800) <= 2 * calls(400) + 20


@pytest.mark.parametrize("frame", [BAD, BAD_CRLF, OVER])
def test_a_chunk_of_many_bad_frames_is_not_copied_for_each(frame: bytes) -> None:
    """Nor searched to its end: both would cost the square of its length."""
    buffer = FrameBuffer(tolerant=True, max_header_bytes=64)
    buffer.append(frame * 10_000)
    assert buffer.extract_frame() is not None
    tracemalloc.start()
    try:
        assert len(list(itertools.islice(buffer, 100))) == 100
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


_PIECES = st.sampled_from(
    [
        *(
            b"MESSAGE\n",
            b"RECEIPT\n",
            b"SEND\r\n",
            b"a:b\n",
            b"ack:1\r\n",
            b"content-length:3\n",
            b"n:\xff\n",
            b":x\n",
            b"x\n",
        ),
        *(b"\n", b"\r\n", b"\n\n", b"\0", b"abc", b"\\t", b"x" * 40, b"MESSAGE\n\n\0", b"MESSAGE\nack:1\n\nabc\0"),
    ]
)


@given(st.lists(_PIECES, max_size=40).map(b"".join), st.sampled_from(VERSIONS), st.integers(1, 50))
def test_whatever_comes_the_frames_do_not_depend_on_the_cuts(data: bytes, version: str, size: int) -> None:
    limits = {"max_header_bytes": 50, "max_headers": 3, "max_body_bytes": 8}

    def told(pieces: list[bytes], *, tolerant: bool) -> tuple[list[object], bool]:
        buffer = FrameBuffer(version, tolerant=tolerant, **limits)  # type: ignore[arg-type]
        frames, error = feed(buffer, pieces)
        assert len(buffer) < 600 + len(data)
        return [(parts(frame), frame.defects, frame.truncated) for frame in frames], error is None

    whole = told([data], tolerant=True)
    strict, _ = told([data], tolerant=False)

    assert told(sliced(data, size), tolerant=True) == whole
    assert whole[0][: len(strict)] == strict
