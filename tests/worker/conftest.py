"""A broker, a publisher, and workers that are stopped when the test ends."""

from __future__ import annotations

import typing

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.worker import Worker
from tests.brokers.ports import lasting_broker
from tests.worker.running import Running, patient


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with patient(broker) as publisher:
        yield publisher


@pytest.fixture
def start() -> typing.Iterator[typing.Callable[[Worker], Running]]:
    """Runs a worker, and waits until it is alive: ``start(worker)``."""
    running: list[Running] = []

    def begin(worker: Worker) -> Running:
        running.append(Running(worker))
        return running[-1].alive()

    yield begin
    for each in running:
        each.worker.stop()
    for each in running:
        assert each.ended()
