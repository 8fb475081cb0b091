"""`encode`: what is written, and what is refused before a byte of it exists."""

from __future__ import annotations

import enum
import tracemalloc
import typing

import pytest

from stomp_web.errors import InvalidFrame, InvalidFrameType, ProtocolError, StompError
from stomp_web.protocol import COMMANDS, COMMANDS_WITH_BODY, Frame, encode
from stomp_web.protocol.encode import encode_header, encode_headers

from .feeding import ESCAPING, VERSIONS, parts, read_one

HANDSHAKE = ("CONNECT", "CONNECTED", "STOMP")


# -- what is written -------------------------------------------------------------------------------------------------


def test_a_frame_is_command_headers_blank_line_body_and_nul() -> None:
    frame = Frame("SEND", {"destination": "/queue/a", "priority": "4"}, b"hello")

    assert encode(frame) == b"SEND\ndestination:/queue/a\npriority:4\ncontent-length:5\n\nhello\0"


def test_a_frame_without_headers_has_a_blank_line_all_the_same() -> None:
    assert encode(Frame("DISCONNECT")) == b"DISCONNECT\n\n\0"


def test_version_1_2_is_the_default() -> None:
    frame = Frame("SEND", {"a": "\r"})

    assert encode(frame) == encode(frame, "1.2")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_can_be_written_and_read_in_every_version(command: str, version: str) -> None:
    frame = Frame(command, {"a": "b"})

    assert read_one(encode(frame, version), version) == frame


@pytest.mark.parametrize("command", sorted(COMMANDS_WITH_BODY))
def test_a_frame_that_may_have_a_body_says_its_length_in_bytes(command: str) -> None:
    assert b"\ncontent-length:4\n" in encode(Frame(command, {}, "😀".encode()))
    assert b"\ncontent-length:0\n" in encode(Frame(command))


@pytest.mark.parametrize("command", sorted(COMMANDS - COMMANDS_WITH_BODY))
def test_a_frame_that_may_have_no_body_says_no_length(command: str) -> None:
    assert b"content-length" not in encode(Frame(command))


def test_without_content_length_the_body_ends_at_the_nul() -> None:
    assert encode(Frame("SEND", {"a": "b"}, b"hello"), content_length=False) == b"SEND\na:b\n\nhello\0"


def test_without_content_length_a_body_with_a_nul_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="content-length"):
        encode(Frame("SEND", {}, b"a\0b"), content_length=False)


def test_headers_are_utf_8() -> None:
    assert encode(Frame("SEND", {"naïve": "世😀"})).startswith("SEND\nnaïve:世😀\n".encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_are_never_trimmed_or_padded(version: str) -> None:
    assert encode(Frame("SEND", {" a ": "\t b "}), version).startswith(b"SEND\n a :\t b \n")


def test_an_empty_value_is_written() -> None:
    assert encode(Frame("SEND", {"a": ""})).startswith(b"SEND\na:\n")


@pytest.mark.parametrize(
    ("version", "written"),
    [("1.0", b"a:x:y\\z"), ("1.1", b"a:x\\cy\\\\z"), ("1.2", b"a:x\\cy\\\\z")],
)
def test_colon_and_backslash_in_a_value_are_escaped_from_1_1_on(version: str, written: bytes) -> None:
    assert encode(Frame("MESSAGE", {"a": "x:y\\z"}), version).split(b"\n")[1] == written


@pytest.mark.parametrize("version", ESCAPING)
def test_names_are_escaped_like_values(version: str) -> None:
    assert encode(Frame("SEND", {"a:\n\\": "b"}), version).startswith(b"SEND\na\\c\\n\\\\:b\n")


def test_1_2_escapes_the_carriage_return() -> None:
    assert encode(Frame("SEND", {"a\r": "\rb"}), "1.2").startswith(b"SEND\na\\r:\\rb\n")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", HANDSHAKE)
def test_connect_connected_and_stomp_are_never_escaped(command: str, version: str) -> None:
    assert encode(Frame(command, {"passcode": "a:b\\c"}), version) == command.encode() + b"\npasscode:a:b\\c\n\n\0"


def test_a_frame_that_was_read_can_be_written_again() -> None:
    frame = read_one(b"MESSAGE\ncontent-length:5\na:b\n\nhello\0")

    assert parts(read_one(encode(frame))) == ("MESSAGE", {"a": "b", "content-length": "5"}, b"hello")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("value", ["plain", "", "b\u00fccher", "a:b", "back\\slash", "two\nlines", "return\r", "nul\0"])
def test_one_header_is_written_and_refused_as_several_are(value: str, version: str) -> None:
    def written(header: typing.Callable[[], bytes]) -> object:
        try:
            return header()
        except InvalidFrame as error:
            return str(error)

    alone = written(lambda: encode_header("x-id", value, "SEND", version))
    assert alone == written(lambda: encode_headers({"x-id": value}, "SEND", version))


def test_encode_changes_nothing_in_the_frame() -> None:
    headers = {"content-length": "5", "a": "b:"}
    frame = Frame("SEND", headers, b"hello")
    encode(frame)
    encode(frame, content_length=False)

    assert list(frame.headers.items()) == [("content-length", "5"), ("a", "b:")]
    assert headers == {"content-length": "5", "a": "b:"}


class Place(str, enum.Enum):  # noqa: UP042 - str() of it is not its value, as with StrEnum
    """As people write it in their settings: a `str` whose `format` is not its value."""

    ORDERS = "/queue/orders"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"

    def __format__(self, spec: str) -> str:
        return "LOUD"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", [Place.ORDERS, Loud("/queue/orders"), "/queue/orders"], ids=["enum", "loud", "str"])
@pytest.mark.parametrize("then", [Place.ORDERS, Loud("/queue/orders"), "/queue/orders"], ids=["enum", "loud", "str"])
def test_a_subclass_of_str_is_written_as_the_string_it_is(first: str, then: str, version: str) -> None:
    unique = f"{type(first).__name__}-{type(then).__name__}-{version}"
    for value in (first, then):
        head = encode(Frame("SEND", {Loud(unique): value}), version).split(b"\n")
        assert head[1] == f"{unique}:/queue/orders".encode()
    for value in (first, then):
        assert encode(Frame("CONNECT", {Loud(unique): value}), version).split(b"\n")[1].endswith(b":/queue/orders")


def test_what_was_written_is_not_kept() -> None:
    encode(Frame("SEND", {"warm": "up"}))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(10):
            encode(Frame("SEND", {"a": f"{number}" * 100_000}))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 100_000


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_refusal_is_a_protocol_error_and_a_value_error() -> None:
    assert issubclass(InvalidFrame, ProtocolError)
    assert issubclass(InvalidFrame, ValueError)
    assert issubclass(InvalidFrameType, InvalidFrame)
    assert issubclass(InvalidFrameType, TypeError)


@pytest.mark.parametrize("command", ["", "send", "Send", "FOO", "SEND ", "SEND\n", "SEND\r"])
def test_a_command_that_stomp_does_not_know_is_refused(command: str) -> None:
    with pytest.raises(InvalidFrame, match="command"):
        encode(Frame(command))


@pytest.mark.parametrize("command", [None, 1, b"SEND", ["SEND"]])
def test_a_command_of_a_wrong_type_is_refused(command: object) -> None:
    with pytest.raises(InvalidFrame, match="command"):
        encode(Frame(command, {}, b"x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["1.3", "", "1", "1.2 ", None, 1.2])
def test_a_version_that_stomp_web_does_not_speak_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=r"1\.0, 1\.1, 1\.2"):
        encode(Frame("SEND"), version)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("headers", [{"a\0": "b"}, {"a": "b\0"}], ids=["name", "value"])
def test_no_version_can_carry_a_nul_in_a_header(headers: dict[str, str], command: str, version: str) -> None:
    with pytest.raises(InvalidFrame, match="NUL"):
        encode(Frame(command, headers), version)


@pytest.mark.parametrize("command", ["SEND", "CONNECT"])
@pytest.mark.parametrize("headers", [{"a\n": "b"}, {"a": "b\nc:d"}], ids=["name", "value"])
def test_1_0_cannot_carry_a_line_feed(headers: dict[str, str], command: str) -> None:
    with pytest.raises(InvalidFrame, match="line feed"):
        encode(Frame(command, headers), "1.0")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("headers", [{"a\r": "b"}, {"a": "b\r"}], ids=["name", "value"])
def test_a_carriage_return_has_no_escape_before_1_2(headers: dict[str, str], version: str) -> None:
    with pytest.raises(InvalidFrame, match="carriage return"):
        encode(Frame("SEND", headers), version)


def test_1_0_cannot_carry_a_colon_in_a_name() -> None:
    with pytest.raises(InvalidFrame, match="colon"):
        encode(Frame("SEND", {"a:b": "c"}), "1.0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", HANDSHAKE)
@pytest.mark.parametrize("headers", [{"a:b": "c"}, {"a\n": "b"}, {"a": "b\n"}, {"a\r": "b"}, {"a": "b\r"}], ids=repr)
def test_the_handshake_cannot_carry_what_it_may_not_escape(headers: dict[str, str], command: str, version: str) -> None:
    with pytest.raises(InvalidFrame, match=command):
        encode(Frame(command, headers), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_without_a_name_is_refused(version: str) -> None:
    with pytest.raises(InvalidFrame, match="name"):
        encode(Frame("SEND", {"": "x"}), version)


WRONG: tuple[object, ...] = (None, 1, True, 1.5, b"x", ["x"], {"x": "y"}, ("x",), bytearray(b"x"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_header_value_of_a_wrong_type_is_refused(value: typing.Any, version: str) -> None:
    with pytest.raises(InvalidFrameType, match="'a'"):
        encode(Frame("SEND", {"a": value}), version)


@pytest.mark.parametrize("name", [None, 1, b"x", ("x",)], ids=repr)
def test_a_header_name_of_a_wrong_type_is_refused(name: typing.Any) -> None:
    with pytest.raises(InvalidFrameType, match="name"):
        encode(Frame("SEND", {name: "x"}))


@pytest.mark.parametrize(
    "body", [None, "text", bytearray(b"x"), memoryview(b"x"), 5, ["x"]], ids=lambda body: type(body).__name__
)
def test_a_body_of_a_wrong_type_is_refused(body: typing.Any) -> None:
    with pytest.raises(InvalidFrameType, match="bytes"):
        encode(Frame("SEND", {}, body))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("headers", [{"\ud800": "x"}, {"x": "\udc80"}], ids=["name", "value"])
def test_a_lone_surrogate_is_refused(headers: dict[str, str], version: str) -> None:
    with pytest.raises(InvalidFrame, match="UTF-8"):
        encode(Frame("SEND", headers), version)


@pytest.mark.parametrize("stated", ["4", "6", "05", "+5", " 5", "٥", "", "five"])
def test_a_content_length_that_is_not_the_bodys_is_refused(stated: str) -> None:
    with pytest.raises(InvalidFrame, match="content-length"):
        encode(Frame("SEND", {"content-length": stated}, b"hello"))


def test_a_content_length_that_is_no_string_is_refused() -> None:
    with pytest.raises(InvalidFrameType, match="content-length"):
        encode(Frame("SEND", {"content-length": 5}, b"hello"))  # type: ignore[dict-item]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", sorted(COMMANDS - COMMANDS_WITH_BODY))
def test_only_send_message_and_error_may_have_a_body(command: str, version: str) -> None:
    with pytest.raises(InvalidFrame, match="body"):
        encode(Frame(command, {}, b"x"), version)


@pytest.mark.parametrize(
    "frame",
    [
        Frame("CONNECT", {"passcode": "s3cret\n"}),
        Frame("CONNECT", {"passcode": "s3cret\r"}),
        Frame("CONNECT", {"passcode": "s3cret\0"}),
        Frame("CONNECT", {"passcode": "s3cret\udc80"}),
        Frame("CONNECT", {"passcode": b"s3cret"}),  # type: ignore[dict-item]
        Frame("CONNECT", {"passcode": ["s3cret"]}),  # type: ignore[dict-item]
        Frame("CONNECT", {"": "s3cret"}),
        Frame("CONNECT", {"passcode": "s3cret"}, b"x"),
        Frame("FOO", {"passcode": "s3cret"}),
        Frame("SEND", {}, "s3cret"),  # type: ignore[arg-type]
        Frame("SEND", {"content-length": "1"}, b"s3cret"),
    ],
    ids=repr,
)
def test_no_refusal_shows_a_passcode_or_a_body(frame: Frame) -> None:
    with pytest.raises(StompError) as refused:
        encode(frame)

    shown = f"{refused.value} {refused.value!r} {refused.value.__context__!r}"
    assert "s3cret" not in shown
    assert "\n" not in str(refused.value)
