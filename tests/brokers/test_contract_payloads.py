"""The contract, payloads: what a handler hands to the publisher, decoded again from what a foreign client read."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.brokers.foreign import ForeignClient

if TYPE_CHECKING:
    from stomp_web import Publisher
    from tests.brokers.running import RunningBroker

PAYLOAD = {
    "key": "value",
    "counter": 0,
    "list": ["a", "b", "c"],
    "nested": {"größe": "世😀"},
    "none": None,
    "real": 1.5,
}


def test_json_arrives_and_says_that_it_is_json(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    publisher.send(destination, PAYLOAD)
    message = inbox.get()
    assert json.loads(message.body) == PAYLOAD
    assert message.headers["content-type"].startswith("application/json")


def test_json_arrives_with_dates_decimals_and_uuids_as_strings(
    publisher: Publisher, inbox: ForeignClient, destination: str
) -> None:
    moment = datetime(2026, 11, 23, 13, 45, 6, tzinfo=UTC)
    identity = UUID("12345678-1234-5678-1234-567812345678")
    publisher.send(destination, {"at": moment, "price": Decimal("10.50"), "id": identity})
    arrived = json.loads(inbox.get().body)
    assert datetime.fromisoformat(arrived.pop("at").replace("Z", "+00:00")) == moment
    assert arrived == {"price": "10.50", "id": str(identity)}


def test_a_pickle_arrives_with_its_datetime(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    payload = {**PAYLOAD, "date": datetime.now(), "bytes": bytes(range(256))}
    publisher.send(destination, payload, serializer="pickle")
    message = inbox.get()
    assert pickle.loads(message.body) == payload
    assert message.headers["content-type"] == "application/x-python-serialize"


def test_text_and_bytes_arrive_as_they_are(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    publisher.send(destination, "größe", serializer="text")
    publisher.send(destination, b"\0\xff", serializer="bytes")
    assert inbox.get().body == "größe".encode()
    assert inbox.get().body == b"\0\xff"


@pytest.mark.parametrize("serializer", ["json", "text"])
def test_text_is_a_text_message_where_the_broker_knows_such(
    publisher: Publisher, broker: RunningBroker, destination: str, serializer: str
) -> None:
    texts = broker.traits.text_versions
    with ForeignClient(broker, version=texts[0] if texts else None) as reader:
        reader.subscribe(destination)
        publisher.send(destination, "text", serializer=serializer)
        assert ("content-length" not in reader.get().headers) == bool(texts)


@pytest.mark.parametrize("serializer", ["pickle", "bytes"])
def test_octets_are_a_bytes_message_everywhere(
    publisher: Publisher, inbox: ForeignClient, destination: str, serializer: str
) -> None:
    publisher.send(destination, b"octets", serializer=serializer)
    message = inbox.get()
    assert message.headers["content-length"] == str(len(message.body))


def test_the_id_that_send_returns_travels_with_the_message(
    publisher: Publisher, inbox: ForeignClient, destination: str
) -> None:
    identifiers = [publisher.send(destination, number) for number in range(3)]
    assert [inbox.get().headers["x-message-id"] for _ in range(3)] == identifiers
    assert len(set(identifiers)) == 3


def test_what_cannot_be_serialized_is_refused_and_the_next_payload_arrives(
    publisher: Publisher, inbox: ForeignClient, destination: str
) -> None:
    with pytest.raises(ValueError, match=r"(?i)json"):
        publisher.send(destination, {"open file": object()})
    publisher.send(destination, "next")
    assert json.loads(inbox.get().body) == "next"
