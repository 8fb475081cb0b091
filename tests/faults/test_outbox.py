"""An outbox in PostgreSQL, an inbox in another database, and real brokers: all between them is killed, again and again.

How many transactions there are: 4 for each fault that `--faults` orders, of each of 8 producers, and 60 at least; 5,000
with ``--faults=1250``, which kills each kind of process 10 times (ActiveMQ: a quarter of all that).
"""

from __future__ import annotations

import typing
import uuid
from pathlib import Path

import pytest

from tests.brokers import fleet
from tests.brokers.running import RunningBroker
from tests.django import postgres

pytest.importorskip("sqlalchemy")

from tests.faults.proof import Proof, Relays, Size, counted, read, wait_for

__all__ = ["Relays", "counted", "read", "wait_for"]

# The two of RabbitMQ, and one that keeps messages in another way.
BROKERS = ("rabbitmq", "rabbitmq4", "activemq")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> typing.Iterator[postgres.Postgres]:
    yield from postgres.provided(request)


@pytest.fixture
def databases(server: postgres.Postgres) -> tuple[str, str]:
    """The one of the producers, and the one of the workers."""
    names = f"sending_{uuid.uuid4().hex}", f"receiving_{uuid.uuid4().hex}"
    with server.connect() as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    address = f"postgresql+psycopg://{server.database['USER']}@{server.host}:{server.port}"
    return f"{address}/{names[0]}", f"{address}/{names[1]}"


# Every wait of the proof has a deadline of its own; this is for the full size.
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("broker", [each for each in fleet.REAL if each in BROKERS], indirect=True)
def test_each_committed_order_arrives_in_the_order_of_its_key_and_is_received_once_whatever_is_killed(
    broker: RunningBroker,
    queue: str,
    server: postgres.Postgres,
    databases: tuple[str, str],
    tmp_path: Path,
    faults: int,
) -> None:
    size = Size.of(faults // 4 if broker.name == "activemq" else faults)
    print(Proof(broker, queue, *databases, server, tmp_path, size).run())
