"""Which parts of a SEND are in its MESSAGE."""

from __future__ import annotations

import time

import pytest

from stomp_web import QueueingDuplexClient
from stomp_web.protocol import Frame


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("body", [b"", b"text", "hé世😀".encode(), bytes(range(256)) * 3, b"\0" * 1000])
def test_any_body_comes_back(connect, version, body):
    wire = connect(version)
    wire.subscribe("/queue/a")
    wire.send(Frame("SEND", {"destination": "/queue/a"}, body))
    assert wire.receive().body == body


def test_a_body_of_a_mebibyte_comes_back(connect):
    wire = connect()
    body = bytes(range(256)) * 4096
    wire.put("/queue/a", body)
    wire.subscribe("/queue/a")
    assert wire.receive().body == body


def test_a_body_comes_back_with_content_length_if_it_came_with_it(connect):
    wire = connect()
    wire.put("/queue/a", b"bytes")
    wire.do("SEND", {"destination": "/queue/a"}, b"text", text=True)
    wire.subscribe("/queue/a")
    binary, text = wire.receive(), wire.receive()
    assert binary.headers["content-length"] == "5"
    assert "content-length" not in text.headers
    assert text.body == b"text"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_every_header_of_the_sender_comes_back(connect, version):
    wire = connect(version)
    headers = {"colon": "a:b", "nl": "a\nb", "bs": "a\\b", "k:ey": "v", "utf8": "hé世😀", "space": " a ", "empty": ""}
    if version == "1.2":
        headers["cr"] = "a\rb"
    headers |= {
        "persistent": "true",
        "priority": "7",
        "correlation-id": "c",
        "reply-to": "/queue/r",
        "x-message-id": "1",
    }
    wire.do("SEND", {"destination": "/queue/a", **headers}, b"x")
    wire.subscribe("/queue/a", "my id:1")
    got = wire.receive().headers
    assert headers.items() <= got.items()
    assert got["subscription"] == "my id:1"
    assert got["destination"] == "/queue/a"


def test_what_belongs_to_the_sending_of_it_does_not(connect):
    wire = connect()
    forged = {"message-id": "forged", "subscription": "forged", "ack": "forged", "redelivered": "forged"}
    wire.do("BEGIN", {"transaction": "t"})
    wire.do("SEND", {"destination": "/queue/a", "transaction": "t", **forged}, b"x")
    wire.do("COMMIT", {"transaction": "t"})
    wire.subscribe("/queue/a", "mine")
    headers = wire.receive().headers
    assert not {"receipt", "transaction", "ack", "redelivered"} & set(headers)
    assert headers["subscription"] == "mine"
    assert headers["message-id"] != "forged"


def test_every_message_has_an_id_of_its_own(connect, broker):
    wire = connect()
    wire.put("/queue/a", *[b"x"] * 50)
    assert len({frame.headers["message-id"] for frame in broker.messages("/queue/a")}) == 50


@pytest.mark.parametrize("headers", [{"expires": "1000"}, {"expiration": "0"}])
def test_an_expired_message_is_not_delivered(connect, broker, headers):
    wire = connect()
    wire.put("/queue/a", b"late", **headers)
    wire.put("/queue/a", b"in time")
    assert [frame.body for frame in broker.pending("/queue/a")] == [b"in time"]
    wire.subscribe("/queue/a")
    assert wire.receive().body == b"in time"


def test_a_message_that_is_not_expired_yet_is_delivered(connect):
    wire = connect()
    wire.put("/queue/a", b"1", expires=str(int(time.time() * 1000) + 60_000), expiration="60000")
    wire.put("/queue/a", b"2", expires="0")
    wire.subscribe("/queue/a")
    assert wire.bodies(2) == [b"1", b"2"]


def test_a_higher_priority_is_delivered_first(connect):
    wire = connect()
    for body, priority in ((b"low", "1"), (b"high", "9"), (b"higher than the highest", "12")):
        wire.put("/queue/a", body, priority=priority)
    wire.put("/queue/a", b"default")
    wire.put("/queue/a", b"four", priority="4")
    wire.subscribe("/queue/a")
    assert wire.bodies(5) == [b"high", b"higher than the highest", b"default", b"four", b"low"]


@pytest.mark.parametrize("length", [60_000, 65_300])
def test_a_message_that_no_client_with_the_default_limits_could_read_is_refused(connect, broker, length):
    """In STOMP 1.0 a backslash is one byte, in 1.2 it is two; and the broker adds headers of its own."""
    wire = connect("1.0")
    wire.send(Frame("SEND", {"destination": "/queue/a", "x": "\\" * length, "receipt": "r"}))
    answer = wire.receive()
    with QueueingDuplexClient(*broker.address) as client:
        client.subscribe("/queue/a")
        if answer.command == "RECEIPT":
            assert not client.receive().truncated
        else:
            assert (answer.command, answer.headers["message"]) == ("ERROR", "Message too large")
            assert client.message_queue.empty()
    assert (answer.command == "ERROR") == (length == 65_300)


def test_whatever_fits_into_a_send_of_today_can_be_read_by_a_client_with_the_default_limits(connect, broker):
    wire = connect()
    wire.do("SEND", {"destination": "/queue/a", "x": "y" * 65_400})
    wire.do("SEND", {"destination": "/queue/a", **{f"h{number}": "x" for number in range(995)}})
    with QueueingDuplexClient(*broker.address) as client:
        client.subscribe("/queue/a", ack="client-individual")
        assert [client.receive().truncated for _ in range(2)] == [False, False]
