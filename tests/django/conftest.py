from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

if importlib.util.find_spec("django") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.django.project import set_up

    set_up()


@pytest.fixture(scope="session", autouse=True)
def tables() -> None:
    from django.core.management import call_command

    for database in ("default", "archive"):
        call_command("migrate", run_syncdb=True, verbosity=0, database=database)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test begins with publishers, and outboxes, of its own."""
    from stomp_web.django import publishers

    publishers.close_all()
    yield
    publishers.close_all()


@pytest.fixture
def local_broker() -> Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker


@pytest.fixture
def broker_settings(local_broker: Broker) -> Iterator[Broker]:
    """The development broker, which the alias default sends to, over three connections at the most."""
    from django.test import override_settings

    with override_settings(STOMP={"default": {"OPTIONS": {"url": local_broker.url, "pool_size": 3}}}):
        yield local_broker
