"""The contract, bodies: octets go in, the same octets come out at a foreign client, at every broker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.brokers.traits import needs

if TYPE_CHECKING:
    from stomp_web import PublishClient
    from tests.brokers.foreign import ForeignClient
    from tests.brokers.running import RunningBroker

EVERY_BYTE = bytes(range(256))

BODIES = {
    "ascii": b"hello",
    "every byte": EVERY_BYTE * 3,
    "one NUL": b"\0",
    "NULs only": bytes(1000),
    "NUL at the end": b"data\0",
    "line feed at the end": b"data\n",
    "line feeds at the start": b"\n\n\r\ndata",
    "looks like a frame": b"SEND\ndestination:/queue/other\n\nbody\0\nRECEIPT\nreceipt-id:1\n\n\0",
    "not UTF-8": b"\xff\xfe\x80",
    "UTF-8": "größe 世界 😀".encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bytes_arrive_as_they_were_sent(
    client: PublishClient, inbox: ForeignClient, destination: str, body: bytes
) -> None:
    client.send(destination, body, content_type="application/octet-stream")
    message = inbox.get()
    assert message.body == body
    assert message.headers["destination"] == destination


def test_a_mebibyte_arrives_as_it_was_sent(
    client: PublishClient, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    needs(broker, "takes_pieces")
    body = random.Random(7).randbytes(1024 * 1024)
    client.send(destination, body, content_type="application/octet-stream")
    assert inbox.get().body == body


def test_an_empty_body_arrives_empty(client: PublishClient, inbox: ForeignClient, destination: str) -> None:
    client.send(destination)
    assert inbox.get().body == b""


def test_text_arrives_as_utf_8_and_says_so(client: PublishClient, inbox: ForeignClient, destination: str) -> None:
    client.send(destination, "größe 世界 😀")
    message = inbox.get()
    assert message.body == "größe 世界 😀".encode()
    assert message.headers["content-type"] == "text/plain;charset=utf-8"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_anything_like_bytes_can_be_sent(
    client: PublishClient, inbox: ForeignClient, destination: str, kind: type[bytearray] | type[memoryview]
) -> None:
    client.send(destination, kind(EVERY_BYTE))
    assert inbox.get().body == EVERY_BYTE


def test_two_hundred_messages_arrive_in_the_order_in_which_they_were_sent(
    client: PublishClient, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    needs(broker, "takes_pieces")
    for number in range(200):
        client.send(destination, str(number).encode(), confirm=number % 50 == 49)
    assert [inbox.get().body for _ in range(200)] == [str(number).encode() for number in range(200)]
