"""The encoder of a session writes what `protocol.encode` writes of the same frame, for every version and broker."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stomp_web import Frame, FrameBuffer, InvalidFrame, Message
from stomp_web.client.encoder import Encoder
from stomp_web.client.message import MOST_ROUTES, TEXT_PLAIN, bare_route, make_ready
from stomp_web.connection.dialect import ACTIVEMQ, ARTEMIS, GENERIC, RABBITMQ, Dialect
from stomp_web.protocol import encode
from tests.protocol.feeding import VERSIONS, Parts, parts

NOW = 1_700_000_000.0
NAMES = st.sampled_from(
    ["x-message-id", "tenant", "a:b", "a\\b", "ünï", "persistent", "correlation-id", "a\nb", "a\rb"]
)
#: Headers that the library writes itself for some brokers.
WRITTEN = st.sampled_from(["expiration", "expires", "_AMQ_DUPL_ID", "destination-type"])
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
HEADERS = st.dictionaries(
    NAMES | WRITTEN, VALUES | st.sampled_from(["1-2-3", "0f1e-7", "a:b", "a\\b", "", "-", "é-1"]), max_size=4
)
#: A body, a content type, and whether the two are text in UTF-8.
CONTENTS = st.sampled_from(
    [
        ("text", None, True),
        ("naïve", "text/plain;charset=utf-8", True),
        (b"{}", "application/json", True),
        (b"\xff", "text/plain", False),
        (b"a\0b", "text/plain", False),
        ("text", "text/plain;charset=latin-1", False),
        (b"", None, False),
        (bytearray(b"x"), None, False),
        (memoryview(b"x\0\n"), "application/octet-stream", False),
        (b"x" * 70_000, None, False),
        (b"x" * 70_000, "text/plain", True),
    ]
)


@dataclasses.dataclass(frozen=True)
class Case:
    message: Message
    is_text: bool


@st.composite
def cases(draw: typing.Any) -> Case:
    body, content_type, is_text = draw(CONTENTS)
    headers = draw(HEADERS)
    if content_type is not None and draw(st.booleans()):
        headers["content-type"], content_type = content_type, None
    destination = draw(st.sampled_from(["/queue/a", "/topic/a:b", "a\\ä"]))
    ttl = draw(st.none() | st.sampled_from([60, 0.0001, 1.5]))
    send_id = draw(st.none() | st.just("id-7"))
    return Case(
        Message(destination, body, headers or None, content_type=content_type, ttl=ttl, send_id=send_id), is_text
    )


def oracle(case: Case, version: str, dialect: Dialect, receipt: int | None, transaction: str | None) -> bytes:
    """What `encode` makes of the frame that should be sent. Raises `InvalidFrame`."""
    message = case.message
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    headers = {}
    if isinstance(message.body, str):
        headers["content-type"] = TEXT_PLAIN
    if dialect is ARTEMIS:
        if message.send_id is not None:
            headers["_AMQ_DUPL_ID"] = message.send_id
        for beginning, kind in (("/queue/", "ANYCAST"), ("/topic/", "MULTICAST")):
            if message.destination.startswith(beginning):
                headers["destination-type"] = kind
    headers |= message.headers or {}
    if message.content_type is not None:
        headers["content-type"] = message.content_type
    if message.ttl is not None:
        milliseconds = max(round(message.ttl * 1000), 1)
        if dialect is RABBITMQ:
            headers["expiration"] = str(milliseconds)
        else:
            headers["expires"] = str(milliseconds + round(NOW * 1000))
    if transaction is not None:
        headers["transaction"] = transaction
    if receipt is not None:
        headers["receipt"] = str(receipt)
    without_length = case.is_text and dialect in (ACTIVEMQ, ARTEMIS)
    frame = Frame("SEND", {"destination": message.destination, **headers}, body)
    return encode(frame, version, content_length=not without_length)


def joined(encoded: tuple[bytes, typing.Sequence[bytes]]) -> bytes:
    data, more = encoded
    return b"".join((data, *more))


def parsed(data: bytes, version: str) -> list[Parts]:
    buffer = FrameBuffer(version)
    buffer.append(data)
    frames = [parts(frame) for frame in buffer]
    assert not buffer, "the last frame has its end"
    return frames


def encoded(messages: list[Message], version: str, dialect: Dialect, *arguments: typing.Any) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stomp_web.connection.dialect.time.time", lambda: NOW)
        return joined(Encoder(version, dialect).encode([make_ready(message) for message in messages], *arguments))


@pytest.mark.parametrize("dialect", [GENERIC, RABBITMQ, ACTIVEMQ, ARTEMIS], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("version", VERSIONS)
@settings(deadline=None)
@given(st.lists(cases(), min_size=1, max_size=3), st.none() | st.just(7), st.none() | st.just("tx-1"))
def test_it_writes_what_the_protocol_s_encoder_writes_at_first_and_again(version, dialect, batch, receipt, transaction):
    try:
        wanted = [
            oracle(case, version, dialect, receipt and receipt + position, transaction)
            for position, case in enumerate(batch)
        ]
    except InvalidFrame:
        for _ in range(2):
            with pytest.raises(InvalidFrame):
                encoded([case.message for case in batch], version, dialect, receipt, transaction)
        return
    for _ in range(2):
        data = encoded([case.message for case in batch], version, dialect, receipt, transaction)
        assert parsed(data, version) == parsed(b"".join(wanted), version)
        assert len(data) == len(b"".join(wanted))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_body_is_not_copied_into_the_frame(version):
    body = bytes(100_000)
    data, more = Encoder(version, GENERIC).encode([make_ready(Message("/queue/a", body))], 3)
    assert any(part is body for part in more)
    wanted = Frame("SEND", {"destination": "/queue/a", "receipt": "3"}, body)
    assert parsed(joined((data, more)), version) == parsed(encode(wanted, version), version)


def head_of(destination: str, headers: typing.Any) -> bytes:
    return joined(Encoder("1.2", GENERIC).encode([make_ready(Message(destination, b"", headers))]))


@pytest.mark.parametrize(
    ("destination", "headers"),
    [
        *(
            ("/queue/a", headers)
            for headers in (
                {"a": 1},
                {"a": None},
                {"a": ["b"]},
                {1: "a"},
                {"": "a"},
                {"a": "\0"},
                {"x-message-id": None},
                {"x-message-id": 7},
                {"x-message-id": "\ud800"},
                {"receipt": "1"},
                {"transaction": "1"},
                {"content-length": "0"},
                {"content-type": 7},
                [("a", "b")],
                "ab",
            )
        ),
        (["/queue/a"], None),
        (["/queue/a"], {"n": "1"}),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_what_is_no_header_and_no_destination_is_refused_each_time(destination, headers):
    for _ in range(2):
        with pytest.raises(InvalidFrame):
            head_of(destination, headers)


def test_a_number_is_not_taken_for_the_text_before_it():
    head_of("/queue/kept", {"n": "1"})
    with pytest.raises(InvalidFrame):
        head_of("/queue/kept", {"n": 1})


def test_a_bad_header_is_not_taken_for_the_good_one_before_it_nor_kept():
    for _ in range(2):
        assert b"\nn:1\n" in head_of("/queue/kept", {"n": "1"})
        with pytest.raises(InvalidFrame):
            head_of("/queue/kept", {"n": "1", "receipt": "1"})


def test_headers_that_their_owner_changes_later_are_not_taken_for_the_next_message_s():
    headers = {"n": "1"}
    head_of("/queue/kept", headers)
    headers["n"] = "2"
    assert b"\nn:1\n" in head_of("/queue/kept", {"n": "1"})
    assert b"\nn:2\n" in head_of("/queue/kept", headers)


class Changing(Mapping):
    """Headers that are others each time they are read."""

    def __init__(self):
        self._reads = itertools.count()

    def __getitem__(self, name):
        return f"customer-{next(self._reads)}"

    def __iter__(self):
        return iter(("customer",))

    def __len__(self):
        return 1


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_that_change_while_they_are_read_are_read_once(version):
    changing = Changing()
    for number in range(2):
        message = make_ready(Message("/queue/changing", b"", changing))
        data = Encoder(version, GENERIC).encode([message])
        assert parsed(joined(data), version)[0][1]["customer"] == f"customer-{number}"
    for number in range(4):
        assert b"\ncustomer:customer-%d\n" % number in head_of("/queue/changing", {"customer": f"customer-{number}"})


def test_the_routes_that_are_kept_are_bounded():
    for number in range(2 * MOST_ROUTES):
        head_of(f"/queue/{number}", {"n": str(number)})
    assert bare_route.cache_info().currsize <= MOST_ROUTES
