"""A broker, an instrumented publisher, and workers that are stopped when the test ends.

Every module of tests here begins with ``importorskip``. This file imports nothing of OpenTelemetry at its top.
"""

from __future__ import annotations

import typing

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.worker import Worker
from tests.brokers.ports import lasting_broker
from tests.worker.running import Running

if typing.TYPE_CHECKING:
    from tests.telemetry.recording import Telemetry


@pytest.fixture
def telemetry() -> typing.Iterator[Telemetry]:
    from tests.telemetry.recording import Telemetry

    made = Telemetry()
    yield made
    made.tracer_provider.shutdown()
    made.meter_provider.shutdown()


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker(server="RabbitMQ/4.3.6") as running:
        yield running


@pytest.fixture
def publisher(broker: Broker, telemetry: Telemetry) -> typing.Iterator[Publisher]:
    """An instrumented publisher."""
    with Publisher(broker.url, timeout=60.0) as publisher:
        yield telemetry.instrument(publisher)


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
