"""The differences between STOMP 1.0, 1.1 and 1.2, in reading and in writing."""

from __future__ import annotations

import pytest

from stomp_web.errors import ProtocolError
from stomp_web.protocol import VERSIONS as SPOKEN
from stomp_web.protocol import Frame, FrameBuffer, choose_version, encode, negotiate_heart_beat, parse_heart_beat

from .feeding import ESCAPING, VERSIONS, parts, read, read_one, refuse


def test_stomp_web_speaks_1_0_1_1_and_1_2() -> None:
    assert SPOKEN == VERSIONS


# -- escapes: "the following transformations MUST be applied" --------------------------------------------------------


@pytest.mark.parametrize("version", ESCAPING)
@pytest.mark.parametrize(("written", "meant"), [(b"\\n", "\n"), (b"\\c", ":"), (b"\\\\", "\\")])
def test_escapes_are_decoded_in_names_and_values(written: bytes, meant: str, version: str) -> None:
    frame = read_one(b"MESSAGE\na" + written + b"b:c" + written + b"d\n\n\0", version)

    assert frame.headers == {f"a{meant}b": f"c{meant}d"}


def test_1_2_decodes_the_carriage_return() -> None:
    assert read_one(b"MESSAGE\na\\r:\\rb\n\n\0", "1.2").headers == {"a\r": "\rb"}


def test_1_1_has_no_escape_for_the_carriage_return() -> None:
    """STOMP 1.1, Value Encoding: "Undefined escape sequences such as \\r [...] fatal protocol error"."""
    assert "1.1" in refuse(b"MESSAGE\na:\\r\n\n\0", "1.1")


@pytest.mark.parametrize("version", ESCAPING)
@pytest.mark.parametrize(
    "escape", [b"\\t", b"\\N", b"\\C", b"\\0", b"\\ ", b"\\", b"a\\\\\\", b"\\\xe4\xb8\x96", b"\\:"]
)
def test_an_undefined_escape_is_fatal(escape: bytes, version: str) -> None:
    assert "escape" in refuse(b"MESSAGE\na:" + escape + b"\n\n\0", version)
    assert "escape" in refuse(b"MESSAGE\n" + escape + b":a\nb:c\n\n\0", version)


@pytest.mark.parametrize("version", ESCAPING)
def test_escapes_are_decoded_once_from_left_to_right(version: str) -> None:
    assert read_one(b"MESSAGE\na:\\\\n\\\\\\n\\\\c\n\n\0", version).headers == {"a": "\\n\\\n\\c"}


def test_1_0_has_no_escapes() -> None:
    assert read_one(b"MESSAGE\na:\\n\\c\\\\\\t\\\n\n\0", "1.0").headers == {"a": "\\n\\c\\\\\\t\\"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["CONNECT", "CONNECTED", "STOMP"])
def test_the_handshake_has_no_escapes_in_any_version(command: str, version: str) -> None:
    assert read_one(f"{command}\na:\\n\\c\\t\\\n\n\0".encode(), version).headers == {"a": "\\n\\c\\t\\"}


@pytest.mark.parametrize("version", ESCAPING)
def test_the_first_colon_ends_a_name_and_the_others_are_data(version: str) -> None:
    """The grammar forbids the others, but ActiveMQ 5.17 and RabbitMQ 3.10 send them."""
    assert read_one(b"MESSAGE\na:b:c\\cd\n\n\0", version).headers == {"a": "b:c:d"}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_one_version_writes_it_reads(version: str) -> None:
    awkward = {"colon": "a:b", "backslash": "a\\nb\\", "space": " a ", "empty": "", "utf-8": "hé世😀", "tab": "\t"}
    if version != "1.0":
        awkward |= {"line:feed": "a\nb", "\\": "\n"}
    if version == "1.2":
        awkward |= {"carriage\rreturn": "a\r\nb\r"}
    frame = Frame("MESSAGE", awkward, b"x")

    assert read_one(encode(frame, version), version) == frame


# -- line ends -------------------------------------------------------------------------------------------------------


def test_lines_may_end_with_cr_lf_in_1_2() -> None:
    frame = read_one(b"MESSAGE\r\na:b\r\nc:\r\n\r\nx\r\n\0\r\n", "1.2")

    assert parts(frame) == ("MESSAGE", {"a": "b", "c": ""}, b"x\r\n")


@pytest.mark.parametrize("first", [b"\n", b"\r\n"])
@pytest.mark.parametrize("second", [b"\n", b"\r\n"])
@pytest.mark.parametrize("third", [b"\n", b"\r\n"])
def test_line_ends_may_be_mixed_in_1_2(first: bytes, second: bytes, third: bytes) -> None:
    data = b"SEND" + first + b"a:b" + second + third + b"\n\n\r\n\0"

    assert [parts(frame) for frame in read(data + data)] == [("SEND", {"a": "b"}, b"\n\n\r\n")] * 2


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_frame_without_headers_may_end_its_lines_either_way_in_1_2(end: bytes) -> None:
    assert parts(read_one(b"DISCONNECT" + end + end + b"\0", "1.2")) == ("DISCONNECT", {}, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"SEND\ra:b\n\n\0",
        b"SEND\r\r\na:b\n\n\0",
        b"SEND\na:b\rc\n\n\0",
        b"SEND\na:b\r\r\n\n\0",
        b"SEND\na\r:b\n\n\0",
        b"SEND\na:b\n\r\r\nc:d\n\n\0",
        b"UNSUBSCRIBE\rXid:1\n\n\0",
        b"\rSEND\n\n\0",
        b"\r\r\nSEND\n\n\0",
    ],
)
def test_a_carriage_return_that_ends_no_line_is_refused_in_1_2(data: bytes) -> None:
    refuse(data, "1.2")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_carriage_return_is_data_in_a_header_before_1_2(version: str) -> None:
    assert read_one(b"MESSAGE\na:b\r\n\r:c\n\nx\0", version).headers == {"a": "b\r", "\r": "c"}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_command_line_ends_with_a_line_feed_alone_before_1_2(version: str) -> None:
    assert "command" in refuse(b"SEND\r\na:b\n\n\0", version)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_cr_lf_is_no_blank_line_before_1_2(version: str) -> None:
    assert read_one(b"MESSAGE\na:b\n\r:\n\nx\0", version).headers == {"a": "b", "\r": ""}
    refuse(b"MESSAGE\na:b\n\r\n\nx\0", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_are_never_trimmed(version: str) -> None:
    assert read_one(b"MESSAGE\n a : b \nc:\t\n\n\0", version).headers == {" a ": " b ", "c": "\t"}


# -- content-length and bodies ---------------------------------------------------------------------------------------


def test_1_0_allows_spaces_around_content_length() -> None:
    """The examples of STOMP 1.0 have a space after the colon."""
    assert read_one(b"MESSAGE\ncontent-length: 3 \n\na\0b\0", "1.0").body == b"a\0b"


@pytest.mark.parametrize("version", ESCAPING)
def test_content_length_has_no_spaces_from_1_1_on(version: str) -> None:
    refuse(b"MESSAGE\ncontent-length: 3\n\na\0b\0", version)


@pytest.mark.parametrize("version", ESCAPING)
@pytest.mark.parametrize("head", [b"RECEIPT\nreceipt-id:1\n\n", b"RECEIPT\nreceipt-id:1\ncontent-length:1\n\n"])
def test_a_frame_that_must_not_have_a_body_is_refused_with_one(head: bytes, version: str) -> None:
    assert "body" in refuse(head + b"x\0", version)


def test_1_0_lets_any_frame_have_a_body() -> None:
    """STOMP 1.0: "The body of the SUBSCRIBE command is ignored"."""
    assert read_one(b"SUBSCRIBE\ndestination: /queue/a\n\nx\0", "1.0").headers == {"destination": " /queue/a"}


# -- the version changes within a session ----------------------------------------------------------------------------


def test_a_buffer_reads_1_2_unless_told_otherwise() -> None:
    assert FrameBuffer().version == "1.2"


@pytest.mark.parametrize("version", ["1.3", "", None, 1.2])
def test_a_buffer_refuses_a_version_that_stomp_web_does_not_speak(version: object) -> None:
    with pytest.raises(ValueError, match=r"1\.0, 1\.1, 1\.2"):
        FrameBuffer(version)  # type: ignore[arg-type]
    buffer = FrameBuffer("1.1")
    with pytest.raises(ValueError, match=r"1\.0, 1\.1, 1\.2"):
        buffer.version = version  # type: ignore[assignment]
    assert buffer.version == "1.1"


def test_frames_after_a_change_of_version_are_read_by_the_new_one() -> None:
    buffer = FrameBuffer("1.2")
    buffer.append(b"CONNECTED\nversion:1.0\n\n\0MESSAGE\na:\\t\n\n\0MESSAGE\r\na:b\r\n\r\n\0")
    connected = buffer.extract_frame()
    assert connected is not None
    buffer.version = connected.headers["version"]

    assert buffer.extract_frame() == Frame("MESSAGE", {"a": "\\t"})
    buffer.version = "1.2"
    assert buffer.extract_frame() == Frame("MESSAGE", {"a": "b"})


@pytest.mark.parametrize("seen", range(1, len(b"MESSAGE\r\na:\\r\r\n\r\nx")))
def test_a_frame_whose_beginning_was_already_seen_is_read_by_the_new_version_too(seen: int) -> None:
    """As when CONNECTED and the beginning of the next frame came in one piece."""
    data = b"MESSAGE\na:\\r\n\r\nx\0"
    buffer = FrameBuffer("1.0")
    buffer.append(data[:seen])
    assert list(buffer) == []
    buffer.version = "1.2"
    buffer.append(data[seen:])

    assert list(buffer) == [Frame("MESSAGE", {"a": "\r"}, b"x")]


@pytest.mark.parametrize("stated", [b"", b"content-length:3\n"])
def test_a_frame_whose_body_has_begun_is_read_by_the_new_version_too(stated: bytes) -> None:
    buffer = FrameBuffer("1.0")
    buffer.append(b"MESSAGE\na:\\c\n" + stated + b"\nx")
    assert list(buffer) == []
    buffer.version = "1.1"
    assert list(buffer) == []
    buffer.append(b"yz\0")

    (frame,) = buffer
    assert (frame.headers["a"], frame.body) == (":", b"xyz")


# -- negotiation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.0,1.1,2.0", "1.1"),
        ("1.0", "1.0"),
        ("1.1, 1.2", "1.2"),
        ("9.9", None),
        ("", None),
        (None, "1.0"),
    ],
)
def test_the_highest_version_in_common_is_chosen(offered: str | None, chosen: str | None) -> None:
    assert choose_version(offered) == chosen


def test_only_versions_that_are_supported_are_chosen() -> None:
    assert choose_version("1.0,1.1,1.2", ("1.0", "1.1")) == "1.1"
    assert choose_version("1.0", ("1.1", "1.2")) is None
    assert choose_version(None, ("1.1", "1.2")) is None


@pytest.mark.parametrize(
    ("header", "numbers"), [(None, (0, 0)), ("0,0", (0, 0)), ("500,1000", (500, 1000)), ("0, 5", (0, 5))]
)
def test_a_heart_beat_is_two_numbers_and_none_means_zero(header: str | None, numbers: tuple[int, int]) -> None:
    assert parse_heart_beat(header) == numbers


@pytest.mark.parametrize(
    "header", ["", "5", "5,", ",5", "x,y", "-1,0", "0,-1", "1,2,3", "1.5,2", "٣,٤", "+1,2", "1_0,2", "9" * 5000 + ",0"]
)
def test_a_heart_beat_that_is_not_two_numbers_is_refused(header: str) -> None:
    with pytest.raises(ProtocolError, match="heart-beat"):
        parse_heart_beat(header)


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((0, 0), (0, 0), (0, 0)),
        ((0, 100), (100, 100), (0, 100)),
        ((100, 0), (100, 100), (100, 0)),
        ((100, 300), (200, 50), (100, 300)),
        ((50, 50), (200, 100), (100, 200)),
        ((100, 100), (0, 0), (0, 0)),
    ],
)
def test_a_beat_is_sent_when_one_side_can_and_the_other_wants_as_rarely_as_the_slower_says(
    ours: tuple[int, int], theirs: tuple[int, int], agreed: tuple[int, int]
) -> None:
    assert negotiate_heart_beat(ours, theirs) == agreed
    assert negotiate_heart_beat(theirs, ours) == agreed[::-1]
