"""Each example application under a real server, beside the development broker."""

from __future__ import annotations

import typing

import pytest

from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker
from tests.example_apps.sites import NAMES, Site, lack, serving


@pytest.fixture(scope="module")
def the_broker() -> typing.Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker


@pytest.fixture(scope="module", params=[name for name in NAMES if not lack(name)])
def the_site(
    request: pytest.FixtureRequest, the_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> typing.Iterator[Site]:
    with serving(request.param, the_broker.url, tmp_path_factory.mktemp(request.param) / "orders.sqlite3") as site:
        yield site


@pytest.fixture
def broker(the_broker: Broker) -> typing.Iterator[Broker]:
    """The broker, without what earlier tests have sent and ordered."""
    the_broker.clear()
    yield the_broker
    the_broker.faults.clear()


@pytest.fixture
def site(the_site: Site, broker: Broker) -> Site:
    return the_site
