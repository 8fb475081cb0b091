"""A development broker, and pools that are closed when the test ends."""

from __future__ import annotations

import contextlib
import typing

import pytest

from stomp_web import PublishClientPool
from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker
from tests.client.scripted import Script, Server

MakePool = typing.Callable[..., PublishClientPool]


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def make_pool(broker: Broker) -> typing.Iterator[MakePool]:
    """A pool for `broker`, or for another address: ``make_pool(max_size=2)``."""
    with contextlib.ExitStack() as stack:

        def make(url: str = broker.url, **options: typing.Any) -> PublishClientPool:
            return stack.enter_context(PublishClientPool(url, **{"timeout": 60.0, **options}))

        yield make


@pytest.fixture
def serve() -> typing.Iterator[typing.Callable[..., Server]]:
    """Starts a scripted server: ``serve(script)``."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script, **options: typing.Any) -> Server:
            return stack.enter_context(Server(*scripts, **options))

        yield start
