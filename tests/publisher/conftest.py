"""A development broker, and publishers that are closed when the test ends."""

from __future__ import annotations

import contextlib
import typing

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker
from tests.client.scripted import Script, Server

MakePublisher = typing.Callable[..., Publisher]


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def make_publisher(broker: Broker) -> typing.Iterator[MakePublisher]:
    """A publisher for `broker`, or for another address: ``make_publisher(timeout=1)``."""
    with contextlib.ExitStack() as stack:

        def make(url: str = broker.url, **options: typing.Any) -> Publisher:
            return stack.enter_context(Publisher(url, **{"timeout": 60.0, **options}))

        yield make


@pytest.fixture
def publisher(make_publisher: MakePublisher) -> Publisher:
    return make_publisher()


@pytest.fixture
def serve() -> typing.Iterator[typing.Callable[..., Server]]:
    """Starts a scripted server: ``serve(script)``."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script, **options: typing.Any) -> Server:
            return stack.enter_context(Server(*scripts, **options))

        yield start
