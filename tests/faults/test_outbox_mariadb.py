"""The proof of test_outbox.py, smaller: with an outbox and an inbox in MariaDB, and in SQLite with one relay."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from tests.brokers.running import RunningBroker
from tests.django.mariadb import MariaDB

pytest.importorskip("sqlalchemy")

from tests.faults.proof import Proof, Size

SIZE = Size(transactions=40, kills=2, restarts=1)


@pytest.fixture
def mariadb(request: pytest.FixtureRequest) -> typing.Iterator[MariaDB]:
    yield from MariaDB.provided(request)


@pytest.mark.timeout(900)  # every wait of the proof has a deadline of its own
@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
class TestEachCommittedOrderArrivesInTheOrderOfItsKeyAndIsReceivedOnceWhateverIsKilled:
    def test_on_mariadb(self, broker: RunningBroker, queue: str, mariadb: MariaDB, tmp_path: Path):
        sending, receiving = (mariadb.address(mariadb.create_database()) for _ in range(2))
        print(Proof(broker, queue, sending, receiving, mariadb, tmp_path, SIZE, relays=2).run())

    def test_on_sqlite(self, broker: RunningBroker, queue: str, tmp_path: Path):
        sending, receiving = (f"sqlite:///{tmp_path}/{name}.db" for name in ("sending", "receiving"))
        print(Proof(broker, queue, sending, receiving, None, tmp_path, SIZE, relays=1).run())
