"""Rules that hold for any frames, any bytes, any cut and any version. Hypothesis looks for an exception to them."""

from __future__ import annotations

import contextlib
import os
import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stomp_web.errors import InvalidFrame, ProtocolError
from stomp_web.protocol import COMMANDS, COMMANDS_WITH_BODY, Frame, FrameBuffer, encode
from stomp_web.protocol.versions import UNESCAPED_COMMANDS

from .feeding import VERSIONS, cut_at, feed, parts, read_one

# CI searches longer than a developer wants to wait.
_LONG = 4 if "CI" in os.environ else 1
moderately = settings(max_examples=30 * _LONG, deadline=None)
shortly = settings(max_examples=20 * _LONG, deadline=None)

versions = st.sampled_from(VERSIONS)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    if draw(st.booleans()):
        return cut_at(data, draw(st.lists(st.integers(0, len(data)), max_size=8)))
    size = draw(st.integers(1, 9))
    return [data[start : start + size] for start in range(0, len(data), size)]


# -- frames ----------------------------------------------------------------------------------------------------------

AWKWARD = "\\:\n\rnrct \t\0aé世😀\u2028\x85"


def texts(version: str, command: str, *, name: bool) -> st.SearchStrategy[str]:
    """Every text that *version* can carry in a header of *command*."""
    forbidden = "\0"
    escaped = version != "1.0" and command not in UNESCAPED_COMMANDS
    if not (escaped and version == "1.2"):
        forbidden += "\r"
    if not escaped:
        forbidden += "\n" + ":" * name
    awkward = "".join(set(AWKWARD) - set(forbidden))
    anything = st.characters(codec="utf-8", exclude_characters=forbidden)
    return st.text(st.sampled_from(awkward) | anything, min_size=int(name), max_size=12)


@st.composite
def frames(draw: st.DrawFn, version: str) -> Frame:
    command = draw(st.sampled_from(sorted(COMMANDS)))
    names = texts(version, command, name=True).filter(lambda name: name != "content-length")
    headers = draw(st.dictionaries(names, texts(version, command, name=False), max_size=5))
    pieces = st.sampled_from([b"\0", b"\n", b"\n\n", b"\r\n\r\n", b"SEND\n\n\0"]) | st.binary(max_size=20)
    body = b"".join(draw(st.lists(pieces, max_size=4))) if command in COMMANDS_WITH_BODY else b""
    return Frame(command, headers, body)


eols = st.lists(st.sampled_from([b"\n", b"\r\n"]), max_size=4).map(b"".join)


@moderately
@given(st.data(), versions)
def test_what_went_in_comes_out(data: st.DataObject, version: str) -> None:
    sent = data.draw(st.lists(frames(version), max_size=5), "frames")
    stream = data.draw(eols) + b"".join(encode(frame, version) + data.draw(eols) for frame in sent)
    buffer = FrameBuffer(version)
    received, error = feed(buffer, data.draw(cuts(stream), "pieces"))

    assert error is None
    assert received == sent
    # Equality leaves content-length out; here it is known what it must say.
    for frame in received:
        expected = str(len(frame.body)) if frame.command in COMMANDS_WITH_BODY else None
        assert frame.headers.get("content-length") == expected
    assert len(buffer) == 0


@shortly
@given(st.data(), versions)
def test_what_went_in_without_content_length_comes_out(data: st.DataObject, version: str) -> None:
    sent = [frame for frame in data.draw(st.lists(frames(version), max_size=5)) if b"\0" not in frame.body]
    stream = b"".join(encode(frame, version, content_length=False) + data.draw(eols) for frame in sent)
    received, error = feed(FrameBuffer(version), data.draw(cuts(stream)))

    assert error is None
    assert [parts(frame) for frame in received] == [parts(frame) for frame in sent]


@shortly
@given(st.data())
def test_1_2_reads_the_same_frame_whatever_ends_its_lines(data: st.DataObject) -> None:
    sent = data.draw(frames("1.2"))
    head, blank, rest = encode(sent).partition(b"\n\n")
    lines = (head + b"\n").split(b"\n")
    stream = b"".join(line + data.draw(st.sampled_from([b"\n", b"\r\n"])) for line in lines) + rest
    received, error = feed(FrameBuffer(), data.draw(cuts(stream)))

    assert blank
    assert error is None
    assert received == [sent]


@shortly
@given(st.data())
def test_the_version_may_change_at_any_frame(data: st.DataObject) -> None:
    """Even when the beginning of a frame was already looked at by the version before."""
    buffer = FrameBuffer(data.draw(versions))
    for _ in range(data.draw(st.integers(1, 4))):
        version = data.draw(versions)
        sent = data.draw(frames(version))
        stream = encode(sent, version)
        seen = data.draw(st.integers(0, len(stream) - 1))
        buffer.append(stream[:seen])
        try:
            assert buffer.extract_frame() is None
        except ProtocolError:
            # By the version before, this was no STOMP.
            buffer.clear()
            buffer.append(stream[:seen])
        buffer.version = version
        buffer.append(stream[seen:])
        assert list(buffer) == [sent]


@moderately
@given(
    st.sampled_from(sorted(COMMANDS)),
    st.dictionaries(st.text(AWKWARD + "\ud800", max_size=4), st.text(AWKWARD + "\ud800", max_size=4), max_size=3),
    st.binary(max_size=4),
    versions,
)
def test_what_is_not_refused_can_be_read_back(command: str, headers: dict[str, str], body: bytes, version: str) -> None:
    frame = Frame(command, headers, body)
    before = dict(headers)
    with contextlib.suppress(InvalidFrame):
        assert read_one(encode(frame, version), version) == frame
    assert headers == before == frame.headers


# -- bytes -----------------------------------------------------------------------------------------------------------

HEADER_BYTES, HEADERS, BODY_BYTES = 40, 4, 12
TOKENS = [
    *(command.encode() for command in sorted(COMMANDS)),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\n\r\n", b"\0", b":", b"\\", b"\\n", b"\\r", b"\\c", b"\\t", b"a", b"a:b\n"),
    *(b"SEND\n", b"SEND\r\n", b"content-length:", b"content-length:3\n", b"content-length: 3\n", b"3", b"12", b"13"),
    *(b"\xff", b"\xc3", "é".encode(), b"SEND\n\nbody\0", b"RECEIPT\n\n\0", b"x" * 12, b"y" * 30),
]
streams = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=14).map(b"".join)


def _never_past_the_limits(data: bytes, version: str, pieces: list[bytes]) -> None:
    limits = {"max_header_bytes": HEADER_BYTES, "max_headers": HEADERS, "max_body_bytes": BODY_BYTES}
    whole, whole_error = feed(FrameBuffer(version, **limits), [data])

    buffer = FrameBuffer(version, **limits)
    received: list[Frame] = []
    error: str | None = None
    for piece in pieces:
        some, error = feed(buffer, [piece])
        received += some
        # A head, the blank line after it, a body: less than that waits, or the frame were complete.
        assert len(buffer) < HEADER_BYTES + 3 + BODY_BYTES + 1
        if error is not None:
            break

    assert [parts(frame) for frame in received] == [parts(frame) for frame in whole]
    assert (error is None) == (whole_error is None), (error, whole_error)
    for frame in whole:
        assert frame.command in COMMANDS
        assert len(frame.headers) <= HEADERS
        assert len(frame.body) <= BODY_BYTES


@settings(max_examples=70 * _LONG, deadline=None)
@given(st.data(), streams, versions)
def test_any_bytes_give_the_same_frames_and_the_same_refusal_for_any_cut_within_the_limits(
    data: st.DataObject, stream: bytes, version: str
) -> None:
    _never_past_the_limits(stream, version, data.draw(cuts(stream)))


@shortly
@given(st.data(), st.binary(max_size=200), versions)
def test_so_do_bytes_that_know_nothing_of_stomp(data: st.DataObject, stream: bytes, version: str) -> None:
    _never_past_the_limits(stream, version, data.draw(cuts(stream)))


@moderately
@given(st.data(), versions)
def test_so_do_streams_that_were_damaged_on_the_way(data: st.DataObject, version: str) -> None:
    sent = data.draw(st.lists(frames(version), min_size=1, max_size=3))
    stream = bytearray(b"".join(encode(frame, version) for frame in sent))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(stream)))
        removed = data.draw(st.integers(0, 3))
        stream[position : position + removed] = data.draw(st.sampled_from(TOKENS) | st.binary(max_size=2))
    _never_past_the_limits(bytes(stream), version, data.draw(cuts(bytes(stream))))


@shortly
@given(st.data(), streams, versions)
def test_extracting_seldom_changes_nothing(data: st.DataObject, stream: bytes, version: str) -> None:
    """One frame for each piece, none for some: the rest waits and comes out at the end."""
    whole, whole_error = feed(FrameBuffer(version), [stream])
    buffer = FrameBuffer(version)
    received: list[Frame] = []
    error: str | None = None
    try:
        for piece in data.draw(cuts(stream)):
            buffer.append(piece)
            for _ in range(data.draw(st.integers(0, 2))):
                frame = buffer.extract_frame()
                received += [frame] if frame is not None else []
        for frame in buffer:
            received.append(frame)
    except ProtocolError as refused:
        error = str(refused)

    assert [parts(frame) for frame in received] == [parts(frame) for frame in whole]
    assert (error is None) == (whole_error is None)


@shortly
@given(st.text(string.digits + "+- _.٣²\t", max_size=6), versions)
@example("00012", "1.2")
@example("+3", "1.2")
@example("٣", "1.2")
def test_content_length_is_what_the_digits_say_or_refused(stated: str, version: str) -> None:
    body = b"\0" * 12
    received, error = feed(FrameBuffer(version), [f"SEND\ncontent-length:{stated}\n\n".encode() + body + b"\0"])
    digits = stated.strip(" ") if version == "1.0" else stated
    if digits.isascii() and digits.isdigit() and int(digits) == 12:
        assert error is None
        assert received[0].body == body
    elif digits.isascii() and digits.isdigit() and int(digits) > 12:
        assert error is None or "limit" in error
        assert received == []
    else:
        assert error is not None
