"""The contract, headers: what the protocol must escape arrives unescaped at a foreign client."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.brokers.traits import needs

if TYPE_CHECKING:
    from stomp_web import PublishClient
    from tests.brokers.foreign import ForeignClient
    from tests.brokers.running import RunningBroker

# Each is used once inside a value and once inside a name.
SPECIAL = {
    "colon": "a:b",
    "colons": "a:b::c:",
    "line feed": "a\nb",
    "carriage return": "a\rb",
    "CRLF": "a\r\nb",
    "backslash": "a\\b",
    "backslash at the end": "a\\",
    "what looks like an escape": "a\\nb\\c\\\\d\\r\\t",
    "spaces around": " a b ",
    "tab": "a\tb",
    "non-ASCII": "größe",
    "beyond the basic plane": "世😀",
}


@pytest.mark.parametrize("value", SPECIAL.values(), ids=SPECIAL.keys())
def test_a_header_value_arrives_as_it_was_given(
    client: PublishClient, inbox: ForeignClient, broker: RunningBroker, destination: str, value: str
) -> None:
    if value.strip() != value:
        needs(broker, "keeps_spaces")
    client.send(destination, b"body", {"plain": "before", "special": value})
    message = inbox.get()
    assert message.headers["special"] == value
    assert message.headers["plain"] == "before"
    assert message.body == b"body"


@pytest.mark.parametrize("name", SPECIAL.values(), ids=SPECIAL.keys())
def test_a_header_name_arrives_as_it_was_given(
    client: PublishClient, inbox: ForeignClient, broker: RunningBroker, destination: str, name: str
) -> None:
    if name.strip() != name:
        needs(broker, "keeps_spaces")
    client.send(destination, b"body", {name: "value"})
    assert inbox.get().headers[name] == "value"


def test_an_empty_header_value_arrives_empty(client: PublishClient, inbox: ForeignClient, destination: str) -> None:
    client.send(destination, b"body", {"empty": "", "after": "x"})
    headers = inbox.get().headers
    assert headers["empty"] == ""
    assert headers["after"] == "x"


def test_fifty_headers_arrive(client: PublishClient, inbox: ForeignClient, destination: str) -> None:
    sent = {f"header-{number}": f"value {number}" for number in range(50)}
    client.send(destination, b"body", sent)
    assert sent.items() <= inbox.get().headers.items()


@pytest.mark.parametrize("name", ["größe-世界", "with space", "with:colon", "with.dots-and_more"])
def test_a_destination_may_have_such_a_name(client: PublishClient, reader: ForeignClient, name: str) -> None:
    destination = f"/queue/{name}-{uuid.uuid4().hex}"
    reader.subscribe(destination)
    client.send(destination, b"body")
    message = reader.get()
    assert message.body == b"body"
    # RabbitMQ/3.10.8 writes what is not ASCII as percent-encoded UTF-8 in the MESSAGE frame.
    assert unquote(message.headers["destination"]) == destination
