"""A development broker in this process, a proxy before it, and how often a fault is repeated."""

from __future__ import annotations

import contextlib
import typing
import uuid

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker
from tests.faults.proxy import PATIENCE, Proxy


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """How often each fault of the leak tests happens."""
    return int(request.config.option.faults)


@pytest.fixture
def local() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def proxy(local: Broker) -> typing.Iterator[Proxy]:
    with Proxy(*local.address) as running:
        yield running


@pytest.fixture
def open_publisher() -> typing.Iterator[typing.Callable[..., Publisher]]:
    """Makes a publisher, which is closed when the test ends. A test of a timeout names its own."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **options: typing.Any) -> Publisher:
            publisher = Publisher(url, **{"timeout": PATIENCE, "connect_timeout": PATIENCE, **options})
            stack.callback(publisher.close, 0.5)
            return publisher

        yield make


@pytest.fixture
def queue() -> str:
    """A queue that no other test knows."""
    return f"/queue/faults-{uuid.uuid4().hex}"
