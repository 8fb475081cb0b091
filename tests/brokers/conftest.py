"""What a test of the contract works with: a broker, a publisher on our side, a reader on the foreign one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from stomp_web import PublishClient, Publisher
from tests.brokers.foreign import ForeignClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.running import RunningBroker


@pytest.fixture
def destination() -> str:
    """A queue that no other test knows."""
    return f"/queue/contract-{uuid.uuid4().hex}"


@pytest.fixture
def topic() -> str:
    """A topic that no other test knows."""
    return f"/topic/contract-{uuid.uuid4().hex}"


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[PublishClient]:
    """The plain client, not connected yet; its sends are confirmed."""
    with PublishClient.from_url(broker.url, confirm=True) as client:
        yield client


@pytest.fixture
def publisher(broker: RunningBroker) -> Iterator[Publisher]:
    publisher = Publisher(broker.url)
    yield publisher
    publisher.close()


@pytest.fixture
def reader(broker: RunningBroker) -> Iterator[ForeignClient]:
    """A foreign client, connected."""
    with ForeignClient(broker) as reader:
        yield reader


@pytest.fixture
def inbox(reader: ForeignClient, destination: str) -> ForeignClient:
    """The reader with a confirmed subscription to the destination: what is sent from now on arrives."""
    reader.subscribe(destination)
    return reader


@pytest.fixture
def writer(broker: RunningBroker) -> Iterator[ForeignClient]:
    """A foreign client that sends, each time with a receipt."""
    with ForeignClient(broker) as writer:
        yield writer
