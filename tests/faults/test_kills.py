"""Real brokers that are killed, stopped and restarted under load: the rule holds, and nothing is left behind.

Messages are persistent, and each is confirmed: what the broker has confirmed must outlive its death.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import typing
from pathlib import Path

import pytest

from stomp_web import Publisher
from tests.brokers.rabbitmq import Epmd, RabbitMQ
from tests.brokers.running import RunningBroker
from tests.faults.load import CONFIRMED, Load, drain
from tests.faults.resources import holding, unchanged

Open = typing.Callable[..., Publisher]

REAL = pytest.mark.parametrize("broker", ["rabbitmq", "activemq"], indirect=True)

QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}


@REAL
@pytest.mark.timeout(240)
def test_what_was_confirmed_outlives_five_kills_under_the_load_of_64_threads(
    broker: RunningBroker, queue: str, open_publisher: Open, record_property: typing.Callable[[str, object], None]
):
    before = holding()
    publisher = open_publisher(broker.url)
    load = Load(publisher, queue, threads=64, sends=500)
    recoveries = []
    with load.running(within=200):
        for _ in range(5):
            confirmed = load.count(CONFIRMED)
            assert load.wait_for(lambda load: load.count(CONFIRMED) >= confirmed + 1500, timeout=30), load.counts
            broker.kill()
            broker.start()
            confirmed = load.count(CONFIRMED)
            began = time.monotonic()
            assert load.wait_for(lambda load: load.count(CONFIRMED) > confirmed, timeout=30), load.counts
            recoveries.append(round(time.monotonic() - began, 2))
    found = drain(broker, queue)
    load.check(found)
    assert load.counts.get("DeliveryUnknown", 0), "no message was on its way when the broker was killed"
    publisher.close()
    unchanged(before)
    record_property("outcomes", f"{load.counts}, {len(found)} in the queue, recovered after {recoveries} s")


@REAL
@pytest.mark.timeout(120)
def test_a_broker_that_was_stopped_and_goes_on_costs_the_deadline_and_no_message(
    broker: RunningBroker, queue: str, open_publisher: Open, record_property: typing.Callable[[str, object], None]
):
    before = holding()
    publisher = open_publisher(broker.url, timeout=1.0)
    load = Load(publisher, queue, threads=16, pace=0.005)
    with load.running(within=60):
        for _ in range(2):
            confirmed = load.count(CONFIRMED)
            assert load.wait_for(lambda load: load.count(CONFIRMED) >= confirmed + 200, timeout=20), load.counts
            failed = len(load.calls) - load.count(CONFIRMED)
            broker.pause()
            assert load.wait_for(lambda load: len(load.calls) - load.count(CONFIRMED) >= failed + 32, timeout=20)
            broker.resume()
        confirmed = load.count(CONFIRMED)
        assert load.wait_for(lambda load: load.count(CONFIRMED) >= confirmed + 200, timeout=40), load.counts
        load.stop()
    found = drain(broker, queue)
    load.check(found)
    assert set(load.counts) >= {CONFIRMED, "DeliveryUnknown", "NotSent"}
    publisher.close()
    unchanged(before)
    record_property("outcomes", f"{load.counts}, {len(found)} in the queue")


class Cluster:
    """Three RabbitMQ nodes that know each other."""

    def __init__(self, directory: Path) -> None:
        names = [f"faults{number}@localhost" for number in (1, 2, 3)]
        self.epmd = Epmd(directory)
        self.nodes = [RabbitMQ(node=name, peers=names, epmd=self.epmd) for name in names]

    @property
    def url(self) -> str:
        """The address that names all three."""
        return self.nodes[0].url + "".join(f",{node.host}:{node.port}" for node in self.nodes[1:])


@pytest.fixture
def cluster(rabbitmq: RunningBroker) -> typing.Iterator[Cluster]:
    # `rabbitmq` is asked for only to be skipped, or to fail, together with all other tests that need RabbitMQ.
    with tempfile.TemporaryDirectory(prefix="stomp-web-cluster-") as directory, contextlib.ExitStack() as stack:
        cluster = Cluster(Path(directory))
        stack.callback(cluster.epmd.stop)
        for node in cluster.nodes:
            stack.callback(node.close)
            node.start()
        yield cluster


@pytest.mark.timeout(240)
def test_a_quorum_queue_loses_nothing_while_its_nodes_are_killed_one_after_the_other(
    cluster: Cluster, queue: str, open_publisher: Open, record_property: typing.Callable[[str, object], None]
):
    before = holding()
    publisher = open_publisher(cluster.url, headers=QUORUM)
    load = Load(publisher, queue, threads=16, pace=0.02)

    def more(count: int) -> None:
        confirmed = load.count(CONFIRMED)
        assert load.wait_for(lambda load: load.count(CONFIRMED) >= confirmed + count, timeout=60), load.counts

    gaps = []
    with load.running(within=150):
        more(300)
        for node in cluster.nodes:
            node.kill()
            began = time.monotonic()
            more(1)
            gaps.append(round(time.monotonic() - began, 2))
            more(300)
            node.start()
            more(300)
        load.stop()
    found = drain(cluster.nodes[0], queue, QUORUM)
    load.check(found)
    publisher.close()
    unchanged(before)
    record_property("outcomes", f"{load.counts}, {len(found)} in the queue, the next confirmed after {gaps} s")
