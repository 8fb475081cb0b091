"""The heads of SEND frames that are kept: what comes out of the store is what the encoder would make."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stomp_web.client.heads import Heads, head_of

from stomp_web import Frame, FrameBuffer, InvalidFrame, Message
from stomp_web.client import heads
from stomp_web.client.message import check_message, encode_message, frame_of, join_frames, send_frame
from stomp_web.connection.dialect import GENERIC, RABBITMQ
from stomp_web.protocol import encode

NAMES = st.sampled_from(["x-message-id", "tenant", "a:b", "ünï", "persistent", "correlation-id"])
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
HEADERS = st.dictionaries(
    NAMES, VALUES | st.sampled_from(["1-2-3", "0f1e-7", "a:b", "a\\b", "", "-", "é-1"]), max_size=4
)


def parsed(data: bytes, version: str) -> Frame:
    buffer = FrameBuffer(version)
    buffer.append(data)
    (frame,) = buffer
    return frame


@settings(deadline=None)
@given(HEADERS, st.sampled_from([None, "application/json"]), st.sampled_from(["1.0", "1.1", "1.2"]))
def test_it_is_what_the_encoder_makes_at_first_and_when_it_is_found_again(headers, content_type, version):
    message = Message("/queue/a", b"body", headers, content_type=content_type)
    try:
        wanted = parsed(encode(send_frame(message), version), version)
    except InvalidFrame:
        for _ in range(2):
            with pytest.raises(InvalidFrame):
                head_of("/queue/a", content_type, headers, version)
        return
    for _ in range(2):
        assert parsed(head_of("/queue/a", content_type, headers, version) + b"\nbody\0", version) == wanted


@settings(deadline=None)
@given(HEADERS, st.booleans())
def test_every_way_to_write_a_message_writes_the_same(headers, with_receipt):
    message = Message("/queue/a", b"bo\0dy", headers, content_type="application/octet-stream")
    try:
        head = check_message(message)
    except InvalidFrame:
        return
    number = 7 if with_receipt else None
    receipt = "7" if with_receipt else None
    frame = send_frame(message)
    if with_receipt:
        frame.headers["receipt"] = "7"
    whole, apart = frame_of(head, memoryview(b"bo\0dy"), number)
    assert apart is None
    joined = join_frames([message], [head], [receipt] if with_receipt else None)
    for data in (whole, encode_message(message, head, GENERIC, "1.2", receipt), joined):
        assert parsed(bytes(data), "1.2") == frame


def test_a_large_body_is_not_copied_into_the_frame():
    body = bytes(100_000)
    data, apart = frame_of(head_of("/queue/a", None, None), memoryview(body), 3)
    assert apart is not None
    assert apart.obj is body
    assert parsed(bytes(data) + body + b"\0", "1.2") == Frame("SEND", {"destination": "/queue/a", "receipt": "3"}, body)


def test_what_has_a_time_to_live_goes_the_way_of_its_broker():
    message = Message("/queue/a", b"x", ttl=60)
    head = check_message(message)
    assert join_frames([message], [head], None) is None
    data = encode_message(message, head, RABBITMQ, "1.2")
    assert parsed(bytes(data), "1.2").headers["expiration"] == "60000"


@pytest.mark.parametrize(
    "headers",
    [{"a": 1}, {"a": None}, {"a": ["b"]}, {1: "a"}, {"x-message-id": 7}, {"receipt": "1"}, [("a", "b")], "ab"],
)
def test_what_is_refused_is_refused_each_time(headers):
    for _ in range(2):
        with pytest.raises(InvalidFrame):
            head_of("/queue/a", None, headers)


def test_a_number_is_not_taken_for_the_text_that_was_kept():
    head_of("/queue/kept", None, {"n": "1"})
    with pytest.raises(InvalidFrame):
        head_of("/queue/kept", None, {"n": 1})


def test_the_store_is_bounded():
    for number in range(2000):
        head_of("/queue/a", None, {"n": str(number)})
        head_of("/queue/a", None, {"n": "x" * 5000})
    assert len(heads._kept["1.2"]) <= 512
    assert all(len(head) <= 2048 for head in heads._kept["1.2"].values())


def test_the_heads_of_one_publisher_are_bounded_too():
    own = Heads({"persistent": "true"})
    for number in range(2000):
        own.of(f"/queue/{number}", None)
        own.of(f"/queue/{number}" + "x" * 5000, None)
    assert own.of("/queue/1", "text/plain") == head_of("/queue/1", "text/plain", {"persistent": "true"})
    assert len(own._kept) <= 512
    assert all(len(head) <= 2048 for head in own._kept.values())


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


def test_headers_that_change_while_they_are_read_are_not_kept_for_others():
    for _ in range(2):
        head_of("/queue/changing", None, Changing())

    for number in range(4):
        head = head_of("/queue/changing", None, {"customer": f"customer-{number}"})
        assert parsed(head + b"\n\0", "1.2").headers["customer"] == f"customer-{number}"


@pytest.mark.parametrize(
    ("destination", "headers"),
    [
        ("/queue/a", {"x-message-id": None}),
        ("/queue/a", {"x-message-id": 7}),
        ("/queue/a", {"x-message-id": "\ud800"}),
        (["/queue/a"], None),
        (["/queue/a"], {"n": "1"}),
        ("/queue/a", [("n", "1")]),
        ("/queue/a", {"n": ["1"]}),
    ],
)
def test_what_is_no_header_is_refused_as_that(destination, headers):
    with pytest.raises(InvalidFrame):
        head_of(destination, None, headers)
