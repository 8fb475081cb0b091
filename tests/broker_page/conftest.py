from __future__ import annotations

import typing

import pytest

from stomp_web.broker import Broker
from stomp_web.broker.page import Page
from tests.brokers.ports import lasting_broker, own_port


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def page(broker: Broker) -> typing.Iterator[Page]:
    with own_port() as port, Page(broker, port=port) as running:
        yield running
