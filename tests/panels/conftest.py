"""A development broker, a publisher that is watched, and a collection that is open while the test runs."""

from __future__ import annotations

import typing

import pytest

from stomp_web import Publisher
from stomp_web.observers import installers
from stomp_web.panels import Collection, watch
from tests.brokers.ports import lasting_broker

if typing.TYPE_CHECKING:
    from stomp_web.broker import Broker


@pytest.fixture(autouse=True)
def watching() -> typing.Iterator[None]:
    """Publishers that the test makes are watched, and those of later tests are not."""
    before = list(installers)
    watch()
    yield
    installers[:] = before


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def publisher(watching: None, broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url, timeout=60.0) as made:
        yield made


@pytest.fixture
def memory(watching: None) -> typing.Iterator[Publisher]:
    with Publisher("memory://") as made:
        yield made


@pytest.fixture
def collection() -> typing.Iterator[Collection]:
    made = Collection()
    made.begin()
    yield made
    made.end()
