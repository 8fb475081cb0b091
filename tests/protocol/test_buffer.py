"""`FrameBuffer`: where a frame begins and ends, whatever way the bytes were cut."""

from __future__ import annotations

import array
import typing

import pytest

from stomp_web.errors import ProtocolError
from stomp_web.protocol import COMMANDS, Frame, FrameBuffer

from .feeding import VERSIONS, parts, read, read_one, refuse

SEND = b"SEND\na:b\n\nbody\0"


# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frame_is_read(version: str) -> None:
    frame = read_one(b"MESSAGE\ndestination:/queue/a\nmessage-id:1\n\nhello\0", version)

    assert type(frame) is Frame
    assert parts(frame) == ("MESSAGE", {"destination": "/queue/a", "message-id": "1"}, b"hello")
    assert type(frame.body) is bytes
    assert type(frame.headers) is dict


def test_headers_keep_the_order_of_the_wire() -> None:
    assert list(read_one(b"MESSAGE\nz:1\na:2\nm:3\n\n\0").headers) == ["z", "a", "m"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_read_with_and_without_headers(command: str) -> None:
    assert read(f"{command}\n\n\0{command}\na:b\n\n\0".encode()) == [Frame(command), Frame(command, {"a": "b"})]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "line",
    [b"send", b"Send", b"SENDX", b"SEN", b" SEND", b"SEND ", b"\0", b"\0SEND", b"HTTP/1.1 400 Bad Request", b"\xff"],
)
def test_what_does_not_begin_with_a_command_is_refused(line: bytes, version: str) -> None:
    assert "command" in refuse(line + b"\na:b\n\n\0", version)


@pytest.mark.parametrize("beginning", [b"HTTP", b"\x15\x03\x03\x00\x02\x02\n", b"a" * 100, b"send", b"\0", b"\r\r"])
def test_what_can_never_become_a_command_is_refused_at_once(beginning: bytes) -> None:
    """A client that talks to a TLS port or a web server by mistake must not wait for its timeout."""
    refuse(beginning)


def test_header_names_are_case_sensitive() -> None:
    assert read_one(b"MESSAGE\nfoo:1\nFoo:2\n\n\0").headers == {"foo": "1", "Foo": "2"}


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_are_utf_8(version: str) -> None:
    assert read_one("MESSAGE\nnaïve:世😀\n\n\0".encode(), version).headers == {"naïve": "世😀"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x8a"], ids=["byte", "cut", "surrogate", "long"]
)
def test_a_header_that_is_not_utf_8_is_refused(bad: bytes, version: str) -> None:
    assert "UTF-8" in refuse(b"MESSAGE\na:" + bad + b"\n\n\0", version)


def test_other_line_ends_of_unicode_are_data() -> None:
    value = "a\x0b\x0c\x1c\x85\u2028b"

    assert read_one(f"MESSAGE\na:{value}\n\n\0".encode()).headers == {"a": value}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_without_a_colon_is_refused(version: str) -> None:
    assert "colon" in refuse(b"MESSAGE\na:b\nfoo\n\n\0", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_without_a_name_is_refused(version: str) -> None:
    assert "name" in refuse(b"MESSAGE\n:b\n\n\0", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_nul_among_the_headers_is_refused(version: str) -> None:
    assert "NUL" in refuse(b"MESSAGE\na:b\0c\n\n\0", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_of_repeated_headers_wins(version: str) -> None:
    assert read_one(b"MESSAGE\nfoo:World\nbar:1\nfoo:Hello\nfoo:\n\n\0", version).headers == {
        "foo": "World",
        "bar": "1",
    }


def test_headers_that_are_the_same_once_unescaped_are_repeated() -> None:
    assert read_one(b"MESSAGE\nb\\\\c:1\nb\\\\c:2\na\\nb:3\na\\nb:4\n\n\0").headers == {"b\\c": "1", "a\nb": "3"}


def test_the_first_content_length_counts() -> None:
    assert read_one(b"MESSAGE\ncontent-length:3\ncontent-length:1\n\na\0b\0").body == b"a\0b"


# -- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_content_length_counts_bytes_and_nuls_inside_are_data(version: str) -> None:
    body = "\0\0é\n\n\0".encode()
    data = b"MESSAGE\ncontent-length:%d\n\n%b\0" % (len(body), body)

    assert [frame.body for frame in read(data * 2, version)] == [body, body]


def test_a_body_may_look_like_a_frame() -> None:
    assert read_one(b"MESSAGE\ncontent-length:%d\n\n%b\0" % (len(SEND), SEND)).body == SEND


def test_a_body_may_hold_every_byte() -> None:
    body = bytes(range(256)) * 2

    assert read_one(b"MESSAGE\ncontent-length:512\n\n" + body + b"\0").body == body


@pytest.mark.parametrize("version", VERSIONS)
def test_without_content_length_the_first_nul_ends_the_body(version: str) -> None:
    assert [frame.body for frame in read(b"MESSAGE\n\na\n\nb\r\n\0" + SEND, version)] == [b"a\n\nb\r\n", b"body"]


def test_a_body_is_not_trimmed() -> None:
    assert read_one(b"MESSAGE\n\n\n\r\n x \n\n\0\n").body == b"\n\r\n x \n\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stated", [0, 1, 3, 5])
def test_a_body_that_is_longer_than_its_content_length_is_refused(stated: int, version: str) -> None:
    error = refuse(b"MESSAGE\ncontent-length:%d\n\nhello!\0" % stated, version)

    assert f"{stated} bytes" in error


def test_a_content_length_of_zero_is_an_empty_body() -> None:
    assert read_one(b"RECEIPT\nreceipt-id:1\ncontent-length:0\n\n\0").body == b""


@pytest.mark.parametrize("stated", ["5", "05", "00000000000000000005"])
def test_content_length_is_a_decimal_number(stated: str) -> None:
    assert read_one(f"MESSAGE\ncontent-length:{stated}\n\nhello\0".encode()).body == b"hello"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "stated", ["", "abc", "-5", "+5", "5.0", "0x5", "5_0", "٥", "５", "²", "5 5", "\t5", "5\t", "5;"]
)
def test_a_content_length_that_is_not_a_number_is_refused(stated: str, version: str) -> None:
    assert "content-length" in refuse(f"MESSAGE\ncontent-length:{stated}\n\nhello\0".encode(), version)


def test_the_case_of_content_length_matters() -> None:
    assert read_one(b"MESSAGE\nContent-Length:1\n\nhello\0").body == b"hello"


# -- between frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("eols", [b"", b"\n", b"\r\n", b"\n" * 5, b"\r\n" * 3 + b"\n\n\r\n"])
def test_line_ends_between_frames_are_passed_over(eols: bytes, version: str) -> None:
    assert read(eols + SEND + eols + SEND + eols, version) == [Frame("SEND", {"a": "b"}, b"body")] * 2


def test_line_ends_alone_are_no_frame_and_are_not_kept() -> None:
    buffer = FrameBuffer()
    for beat in (b"\n", b"\r\n", b"\r", b"\n"):
        buffer.append(beat)
        assert buffer.extract_frame() is None
        assert len(buffer) == (beat == b"\r")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("eol", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_frame_that_comes_alone_is_read_by_one_call(eol: bytes, version: str) -> None:
    """A client that awaits one frame asks for one, and leaves the line ends behind it for the next time."""
    for cut in range(1, 28):
        buffer = FrameBuffer(version)
        for number in range(10, 14):
            data = b"RECEIPT\nreceipt-id:%d\n\n\0" % number + eol
            frame = None
            for piece in (data[:cut], data[cut:]):
                buffer.append(piece)
                frame = frame or buffer.extract_frame()
            assert frame == Frame("RECEIPT", {"receipt-id": str(number)}), cut


def test_nothing_waits_behind_a_frame_and_its_line_feed() -> None:
    data = b"MESSAGE\nack:1\n\nbody\0\n"
    for cut in range(len(data) - 1):
        buffer = FrameBuffer()
        buffer.append(data[:cut])
        assert buffer.extract_frame() is None
        buffer.append(data[cut:])
        assert buffer.extract_frame() == Frame("MESSAGE", {"ack": "1"}, b"body")
        assert not buffer


def test_many_frames_come_out_in_order() -> None:
    data = b"".join(b"MESSAGE\nn:%d\n\n%d\0\n" % (number, number) for number in range(200))

    assert [frame.headers["n"] for frame in read(data)] == [str(number) for number in range(200)]


# -- the buffer itself -----------------------------------------------------------------------------------------------


def test_an_empty_buffer_has_no_frame() -> None:
    buffer = FrameBuffer()

    assert buffer.extract_frame() is None
    assert list(buffer) == []
    assert len(buffer) == 0


def test_nothing_is_an_append_too() -> None:
    buffer = FrameBuffer()
    for piece in (b"", SEND[:7], b"", SEND[7:], b""):
        buffer.append(piece)

    assert buffer.extract_frame() == Frame("SEND", {"a": "b"}, b"body")
    assert buffer.extract_frame() is None


def test_the_length_is_that_of_the_bytes_that_wait() -> None:
    buffer = FrameBuffer()
    buffer.append(SEND + SEND + b"SEND")
    assert len(buffer) == 2 * len(SEND) + 4
    buffer.extract_frame()
    assert len(buffer) == len(SEND) + 4
    buffer.append(b"\n")
    assert len(buffer) == len(SEND) + 5
    buffer.extract_frame()
    buffer.extract_frame()
    assert len(buffer) == 5


def test_appends_between_extracts_lose_nothing() -> None:
    buffer = FrameBuffer()
    bodies = []
    for number in range(100):
        buffer.append(b"MESSAGE\r\n\r\n%d\0\nMESSA" % number)
        buffer.append(b"GE\r\n\r\n%d\0" % -number)
        if (frame := buffer.extract_frame()) is not None:
            bodies.append(int(frame.body))
    bodies += [int(frame.body) for frame in buffer]

    assert bodies == [sign * number for number in range(100) for sign in (1, -1)]
    assert len(buffer) == 0


def test_iteration_takes_out_what_is_complete_and_can_go_on_later() -> None:
    buffer = FrameBuffer()
    buffer.append(SEND + SEND + SEND[:5])
    assert len(list(buffer)) == 2
    buffer.append(SEND[5:])
    assert len(list(buffer)) == 1


def test_frames_before_the_fault_come_out_first() -> None:
    refuse(SEND + SEND + b"\nFOO\n\n\0" + SEND, after=2)


def test_a_refused_stream_stays_refused_until_clear() -> None:
    buffer = FrameBuffer()
    buffer.append(b"FOO\n\n\0")
    with pytest.raises(ProtocolError) as first:
        buffer.extract_frame()
    buffer.append(SEND)
    with pytest.raises(ProtocolError) as second:
        buffer.extract_frame()
    assert str(second.value) == str(first.value)

    buffer.clear()
    assert buffer.extract_frame() is None
    buffer.append(SEND)
    assert buffer.extract_frame() == Frame("SEND", {"a": "b"}, b"body")


def test_a_refused_stream_is_not_kept() -> None:
    buffer = FrameBuffer()
    buffer.append(b"FOO\n\n\0")
    with pytest.raises(ProtocolError):
        buffer.extract_frame()
    for _ in range(10):
        buffer.append(b"x" * 1000)

    assert len(buffer) == 0


@pytest.mark.parametrize("seen", range(len(SEND)))
def test_clear_forgets_the_beginning_of_a_frame(seen: int) -> None:
    buffer = FrameBuffer("1.1", max_body_bytes=100)
    buffer.append(SEND + SEND[:seen])
    buffer.extract_frame()
    buffer.extract_frame()
    buffer.clear()
    assert len(buffer) == 0
    assert (buffer.version, buffer.max_body_bytes) == ("1.1", 100)
    buffer.append(b"MESSAGE\ncontent-length:1\n\nx\0")

    assert list(buffer) == [Frame("MESSAGE", {}, b"x")]


@pytest.mark.parametrize(
    "make",
    [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data)), lambda data: array.array("B", data)],
)
def test_bytes_like_objects_are_taken(make: typing.Callable[[bytes], typing.Any]) -> None:
    for size in (1, 5, 100):
        buffer = FrameBuffer()
        for start in range(0, len(SEND), size):
            buffer.append(make(SEND[start : start + size]))

        assert list(buffer) == [Frame("SEND", {"a": "b"}, b"body")]


def test_the_callers_buffer_may_be_used_again_after_append() -> None:
    """As with `socket.recv_into`."""
    buffer = FrameBuffer()
    received = bytearray(6)
    frames = []
    for start in range(0, len(SEND), 6):
        piece = SEND[start : start + 6]
        received[: len(piece)] = piece
        buffer.append(memoryview(received)[: len(piece)])
        received[:] = b"\0" * 6
        frames += list(buffer)

    assert frames == [Frame("SEND", {"a": "b"}, b"body")]
    received.clear()  # the buffer holds no view of it


@pytest.mark.parametrize("data", ["SEND\n\n\0", 5, None, [83, 69]], ids=repr)
@pytest.mark.parametrize("before", [b"", b"SEND"])
def test_what_is_not_bytes_is_refused(data: typing.Any, before: bytes) -> None:
    buffer = FrameBuffer()
    buffer.append(before)
    list(buffer)
    with pytest.raises(TypeError):
        buffer.append(data)
    assert len(buffer) == len(before)


def test_a_frame_shares_nothing_with_the_buffer() -> None:
    buffer = FrameBuffer()
    buffer.append(SEND + SEND)
    first = buffer.extract_frame()
    assert first is not None
    first.headers["a"] = "changed"

    assert buffer.extract_frame() == Frame("SEND", {"a": "b"}, b"body")


def test_a_refusal_is_one_line() -> None:
    for data in (
        b"FOO\x1b[31m\nx\n\n\0",
        b"SEND\nfoo\x1b\n\n\0",
        b"SEND\na:\\\x1b\n\n\0",
        b"SEND\ncontent-length:\x1b\n\n\0",
    ):
        error = refuse(data)
        assert error.isprintable()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_undefined_escape_is_refused_in_a_repeated_header_too(version):
    buffer = FrameBuffer(version)
    buffer.append(b"MESSAGE\na:1\na:\\t\n\n\0")
    with pytest.raises(ProtocolError, match="escape"):
        buffer.extract_frame()
