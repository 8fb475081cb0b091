"""Real brokers that are killed, stopped and restarted under load: the rule holds, and nothing is left behind.

Messages are persistent, and each is confirmed: what the broker has confirmed must outlive its death.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
import typing
from pathlib import Path

import pytest

from stomp_web import Publisher
from tests.brokers import fleet
from tests.brokers.rabbitmq import Epmd, RabbitMQ
from tests.brokers.running import RunningBroker
from tests.faults.clock import watch
from tests.faults.load import CONFIRMED, Load, drain, make_queues
from tests.faults.resources import holding, unchanged

Open = typing.Callable[..., Publisher]

REAL = pytest.mark.parametrize("broker", fleet.REAL, indirect=True)

#: Seconds of a call, which must end in them while the broker is away: `Load.check`.
IN_TIME = {"timeout": 5.0, "connect_timeout": 5.0}

QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}


@REAL
@pytest.mark.timeout(600)
def test_what_was_confirmed_outlives_five_kills_under_the_load_of_64_threads(
    broker: RunningBroker, queue: str, open_publisher: Open
):
    make_queues(broker, queue)
    before = holding()
    publisher = open_publisher(broker.url, **IN_TIME)
    load = Load(publisher, queue, threads=64)
    recoveries = []
    with load.running():
        for _ in range(5):
            load.confirm_more(1500)
            calls = len(load.calls)
            broker.kill()
            broker.start()
            failed, unknown = publisher.stats().pool.connect_errors, load.count("DeliveryUnknown")
            with watch() as stopwatch:
                load.confirm_more(1)
            # Within one back-off step: the longest pause that any call was told of. An attempt to connect or to send
            # that was too slow on this machine costs its timeout, and then another step. The rest is the load's own.
            step = max(getattr(call.error, "retry_after", None) or 0.0 for call in load.calls[calls:])
            slow = math.ceil((load.count("DeliveryUnknown") - unknown) / publisher.options.pool_size)
            attempts = 1 + publisher.stats().pool.connect_errors - failed + slow
            assert stopwatch.seconds < attempts * (step + IN_TIME["timeout"]) + 5.0 + stopwatch.late
            recoveries.append(f"{stopwatch.seconds:.1f} of {step:.1f}")
        load.stop()
    found = drain(broker, queue)
    load.check(found)
    assert load.counts.get("DeliveryUnknown", 0), "no message was on its way when the broker was killed"
    publisher.close()
    unchanged(before)
    print(f"{load.counts}, {len(found)} in the queue, recovered after {recoveries} s")


@REAL
@pytest.mark.timeout(600)
def test_a_broker_that_was_stopped_and_goes_on_costs_the_deadline_and_no_message(
    broker: RunningBroker, queue: str, open_publisher: Open
):
    before = holding()
    publisher = open_publisher(broker.url, timeout=1.0)
    load = Load(publisher, queue, threads=16, pace=0.005)
    with load.running():
        for _ in range(2):
            load.confirm_more(200)
            broker.pause()
            load.fail_more(32)
            broker.resume()
        load.confirm_more(200)
        load.stop()
    found = drain(broker, queue)
    load.check(found)
    assert set(load.counts) >= {CONFIRMED, "DeliveryUnknown", "NotSent"}
    publisher.close()
    unchanged(before)
    print(f"{load.counts}, {len(found)} in the queue")


class Cluster:
    """Three RabbitMQ nodes that know each other."""

    def __init__(self, kind: type[RabbitMQ], directory: Path) -> None:
        names = [f"faults{number}@localhost" for number in (1, 2, 3)]
        self.epmd = Epmd(directory, kind.tree())
        self.nodes = [kind(node=name, peers=names, epmd=self.epmd) for name in names]

    @property
    def url(self) -> str:
        """The address that names all three."""
        return ",".join(node.url for node in self.nodes)


@pytest.fixture
def cluster(rabbitmq: RabbitMQ) -> typing.Iterator[Cluster]:
    # Of `rabbitmq` only its kind: so this is skipped, or fails, together with all other tests that need that RabbitMQ.
    with tempfile.TemporaryDirectory(prefix="stomp-web-cluster-") as directory, contextlib.ExitStack() as stack:
        cluster = Cluster(type(rabbitmq), Path(directory))
        stack.callback(cluster.epmd.stop)
        for node in cluster.nodes:
            stack.callback(node.close)
            node.launch()
        for node in cluster.nodes:
            node.wait_until_ready()
        yield cluster


@pytest.mark.timeout(600)
def test_a_quorum_queue_loses_nothing_while_its_nodes_are_killed_one_after_the_other(
    cluster: Cluster, queue: str, open_publisher: Open
):
    # While the queue elects a new leader, RabbitMQ/3.10.8 ends the connection of whoever sends to it (its STOMP plugin
    # crashes on basic.nack): unknown outcomes, which only the one who asked for "at least once" does not see.
    before = holding()
    once = open_publisher(cluster.url, headers=QUORUM, **IN_TIME)
    at_least_once = open_publisher(cluster.url, headers=QUORUM, resend_unknown=True)
    load = Load(once, queue, threads=8, pace=0.02)
    stubborn = Load(at_least_once, queue + "-stubborn", threads=8, pace=0.02)
    gaps = []
    with load.running(), stubborn.running():
        load.confirm_more(300)
        for node in cluster.nodes:
            node.kill()
            began = time.monotonic()
            load.confirm_more(1)
            stubborn.confirm_more(1)
            gaps.append(round(time.monotonic() - began, 2))
            load.confirm_more(300)
            node.start()
            load.confirm_more(300)
            stubborn.confirm_more(300)
        load.stop()
        stubborn.stop()
    found = drain(cluster.nodes[0], queue, QUORUM)
    load.check(found)
    found_of_stubborn = drain(cluster.nodes[0], stubborn.destination, QUORUM)
    stubborn.check(found_of_stubborn, resent=True)
    assert set(stubborn.counts) == {CONFIRMED}, stubborn.counts
    once.close()
    at_least_once.close()
    unchanged(before)
    print(f"once: {load.counts}, {len(found)} in the queue, the next confirmed after {gaps} s")
    print(f"at least once: {stubborn.counts}, {len(found_of_stubborn)} in the queue")
