"""The contract, receiving: what foreign clients send we read, and what our receivers send they read.

stomp.py speaks all versions, stompman only 1.2. Neither shares code with ours, nor with the other.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from stomp_web import QueueingDuplexClient
from tests.brokers.foreign import ForeignClient
from tests.brokers.foreign_async import stompman_client
from tests.brokers.receiving import VERSIONS, receiver, take
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    import stompman

    from tests.brokers.running import RunningBroker

EVERY_BYTE = bytes(range(256))

BODIES = {
    "empty": b"",
    "every byte": EVERY_BYTE * 3,
    "one NUL": b"\0",
    "NULs only": bytes(1000),
    "NUL at the end": b"data\0",
    "line feeds around": b"\n\n\r\ndata\n\n",
    "looks like a frame": b"MESSAGE\ndestination:/queue/other\n\nbody\0\nRECEIPT\nreceipt-id:1\n\n\0",
    "UTF-8": "größe 世界 😀".encode(),
    "not UTF-8": b"\xff\xfe\x80",
}

TEXT = "größe 世界 😀\nand a second line"

MEBIBYTE = random.Random(11).randbytes(1024 * 1024)

# Each is used once as a value and once inside a name.
SPECIAL = {
    "colon": "a:b",
    "colons": ":a:b::c:",
    "line-feed": "a\nb",
    "line-feeds-around": "\na\n",
    "carriage-return": "a\rb",
    "CRLF": "a\r\nb",
    "backslash": "a\\b",
    "backslash-at-the-end": "a\\",
    "what-looks-like-an-escape": "a\\nb\\c\\\\d\\r\\t",
    "spaces-around": "  a b  ",
    "tab": "a\tb",
    "non-ASCII": "größe",
    "beyond-the-basic-plane": "世😀",
}


def special(broker: RunningBroker, version: str) -> dict[str, str]:
    """Those that the version has escapes for and that the broker keeps."""
    return {
        name: value
        for name, value in SPECIAL.items()
        if ("\r" not in value or version == "1.2")
        and (value.strip() == value or "\n" in value or broker.traits.keeps_spaces)
    }


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[QueueingDuplexClient]:
    """Our client, connected; its loop does not run."""
    with receiver(broker) as client:
        yield client


# stomp.py sends, we read.


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_we_read_the_bytes_that_stomp_py_sent(
    client: QueueingDuplexClient, writer: ForeignClient, destination: str, body: bytes
) -> None:
    client.subscribe(destination)
    writer.send(destination, body)
    frame = take(client)
    assert frame.body == body
    assert frame.headers["destination"] == destination


@pytest.mark.parametrize("version", VERSIONS)
def test_we_read_the_bytes_that_stomp_py_sent_over(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as writer:
        client.subscribe(destination)
        writer.send(destination, EVERY_BYTE, {"kind": "binary"})
        frame = take(client)
    assert frame.body == EVERY_BYTE
    assert frame.headers["kind"] == "binary"


@pytest.mark.parametrize("version", VERSIONS)
def test_we_read_text_without_a_content_length(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as writer:
        writer.connection.auto_content_length = False
        client.subscribe(destination)
        writer.send(destination, TEXT, {"content-type": "text/plain;charset=utf-8"})
        frame = take(client)
    assert frame.body.decode() == TEXT
    assert frame.headers["content-type"] == "text/plain;charset=utf-8"
    if version in broker.traits.text_versions:
        assert "content-length" not in frame.headers


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_we_read_the_header_values_that_stomp_py_sent(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    sent = special(broker, version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as writer:
        client.subscribe(destination)
        writer.send(destination, b"body", sent)
        frame = take(client)
    assert {name: frame.headers.get(name) for name in sent} == sent
    assert frame.body == b"body"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_we_read_the_header_names_that_stomp_py_sent(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    sent = {f"x{value}x": name for name, value in special(broker, version).items()}
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as writer:
        client.subscribe(destination)
        # stomp.py 9.0 escapes values only: it is given the names as they stand on the wire.
        writer.send(destination, b"body", {on_the_wire(name): value for name, value in sent.items()})
        frame = take(client)
    assert {name: frame.headers.get(name) for name in sent} == sent


def test_we_read_a_mebibyte_that_stomp_py_sent(
    broker: RunningBroker, client: QueueingDuplexClient, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    client.subscribe(destination)
    writer.send(destination, MEBIBYTE)
    assert take(client).body == MEBIBYTE


# We send, stomp.py reads.


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_stomp_py_reads_the_bytes_that_we_sent(
    client: QueueingDuplexClient, inbox: ForeignClient, destination: str, body: bytes
) -> None:
    client.send(destination, body, content_type="application/octet-stream", confirm=True)
    message = inbox.get()
    assert message.body == body
    assert message.headers["destination"] == destination


@pytest.mark.parametrize("version", VERSIONS)
def test_stomp_py_reads_the_bytes_that_we_sent_over(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination)
        client.send(destination, EVERY_BYTE, {"kind": "binary"}, confirm=True)
        message = reader.get()
    assert message.body == EVERY_BYTE
    assert message.headers["kind"] == "binary"


@pytest.mark.parametrize("version", VERSIONS)
def test_stomp_py_reads_the_text_that_we_sent_over(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination)
        client.send(destination, TEXT, confirm=True)
        message = reader.get()
    assert message.body.decode() == TEXT
    assert message.headers["content-type"] == "text/plain;charset=utf-8"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_stomp_py_reads_the_header_values_that_we_sent(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    sent = special(broker, version)
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination)
        client.send(destination, b"body", sent, confirm=True)
        message = reader.get()
    assert {name: message.headers.get(name) for name in sent} == sent
    assert message.body == b"body"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_stomp_py_reads_the_header_names_that_we_sent(broker: RunningBroker, destination: str, version: str) -> None:
    needs(broker, "versions", version)
    sent = {f"x{value}x": name for name, value in special(broker, version).items()}
    with receiver(broker, version) as client, ForeignClient(broker, version=version) as reader:
        reader.subscribe(destination)
        client.send(destination, b"body", sent, confirm=True)
        message = reader.get()
    assert {name: message.headers.get(name) for name in sent} == sent


def test_stomp_py_reads_a_mebibyte_that_we_sent(
    broker: RunningBroker, client: QueueingDuplexClient, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    client.send(destination, MEBIBYTE, content_type="application/octet-stream", confirm=True)
    assert inbox.get().body == MEBIBYTE


# stompman, in both directions.


def with_stompman(test: Any) -> Any:
    """A test at the brokers where stompman can connect (see `test_foreign_clients_async.py`)."""
    return pytest.mark.parametrize("broker", ["development", "activemq"], indirect=True)(test)


@with_stompman
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_we_read_the_bytes_that_stompman_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str, body: bytes
) -> None:
    client.subscribe(destination)
    run(stompman_sends(broker, destination, body))
    assert take(client).body == body


@with_stompman
def test_we_read_text_that_stompman_sent_without_a_content_length(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    client.subscribe(destination)
    run(stompman_sends(broker, destination, TEXT.encode(), add_content_length=False))
    assert take(client).body.decode() == TEXT


@with_stompman
def test_we_read_the_headers_that_stompman_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    sent = both_ways(for_stompman(broker))
    client.subscribe(destination)
    run(stompman_sends(broker, destination, b"body", sent))
    frame = take(client)
    assert {name: frame.headers.get(name) for name in sent} == sent
    assert frame.body == b"body"


@with_stompman
def test_we_read_a_mebibyte_that_stompman_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    client.subscribe(destination)
    run(stompman_sends(broker, destination, MEBIBYTE))
    assert take(client).body == MEBIBYTE


@with_stompman
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_stompman_reads_the_bytes_that_we_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str, body: bytes
) -> None:
    client.send(destination, body, content_type="application/octet-stream", confirm=True)
    _, read = run(stompman_reads(broker, destination))
    assert read == body


@with_stompman
def test_stompman_reads_the_text_that_we_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    client.send(destination, TEXT, confirm=True)
    headers, read = run(stompman_reads(broker, destination))
    assert read.decode() == TEXT
    assert headers["content-type"] == "text/plain;charset=utf-8"


@with_stompman
def test_stompman_reads_the_headers_that_we_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    sent = both_ways(for_stompman(broker))
    client.send(destination, b"body", sent, confirm=True)
    headers, read = run(stompman_reads(broker, destination))
    assert {name: headers.get(name) for name in sent} == sent
    assert read == b"body"


@with_stompman
def test_stompman_reads_a_mebibyte_that_we_sent(
    broker: RunningBroker, client: QueueingDuplexClient, destination: str
) -> None:
    client.send(destination, MEBIBYTE, content_type="application/octet-stream", confirm=True)
    _, read = run(stompman_reads(broker, destination))
    assert read == MEBIBYTE


# How it is done.


def on_the_wire(name: str) -> str:
    """A header's name, escaped as STOMP 1.2 says."""
    return name.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")


def for_stompman(broker: RunningBroker) -> dict[str, str]:
    # stompman 3.16 leaves carriage returns out when it writes, and does not know their escape when it reads.
    return {name: value for name, value in special(broker, "1.2").items() if "\r" not in value}


def both_ways(values: Mapping[str, str]) -> dict[str, str]:
    """Each value once as a value, and once inside a name."""
    return {**values, **{f"x{value}x": name for name, value in values.items()}}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run stompman's coroutine, with a deadline for all of it."""
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


async def stompman_sends(
    broker: RunningBroker,
    destination: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    add_content_length: bool = True,
) -> None:
    async with stompman_client(broker) as client:
        await client.send(
            body,
            destination,
            add_content_length=add_content_length,
            headers=headers,
            receipt_timeout=PATIENCE,
        )


async def stompman_reads(broker: RunningBroker, destination: str) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the next message."""
    messages: asyncio.Queue[stompman.AckableMessageFrame] = asyncio.Queue()

    async def take_one(message: stompman.AckableMessageFrame) -> None:
        await message.ack()
        await messages.put(message)

    async with stompman_client(broker) as client:
        subscription = await client.subscribe_with_manual_ack(destination, take_one, receipt_timeout=PATIENCE)
        message = await messages.get()
        await subscription.unsubscribe()
    return {name: str(value) for name, value in message.headers.items()}, message.body
