"""The proof of `test_outbox` sees what it is there to see."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy

from tests.brokers.running import RunningBroker
from tests.faults import orders
from tests.faults.proof import Proof, Size

FIRST = "key-00", 1_000_000, "id-0"
SECOND = "key-00", 1_000_001, "id-1"
OTHER = "key-01", 1_000_002, "id-2"


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    """A proof after three orders, two of them of one key; the second is still in the outbox."""
    sending, receiving = f"sqlite:///{tmp_path}/sending.db", f"sqlite:///{tmp_path}/receiving.db"
    orders.create(sending, receiving)
    engine = sqlalchemy.create_engine(sending)
    with engine.begin() as connection:
        for number, (key, order, message_id) in enumerate((FIRST, SECOND, OTHER), 1):
            row = {"id": order, "key": key, "number": number, "message_id": message_id, "copy_id": f"{message_id}-copy"}
            connection.execute(orders.ORDERS.insert().values(row))
        orders.OUTBOX.send(connection, "/queue/orders", {}, {"x-message-id": "id-1"}, key="key-00")
    engine.dispose()
    broker = typing.cast(RunningBroker, None)  # it is not asked
    return Proof(broker, "/queue/orders", sending, receiving, None, tmp_path, Size(3, 0, 0))


@pytest.mark.parametrize("arrived", [[FIRST, SECOND, OTHER], [OTHER, FIRST, SECOND, FIRST, OTHER]])
def test_a_queue_with_every_order_in_the_order_of_its_key_has_no_problem(
    proof: Proof, arrived: list[tuple[str, int, str]]
) -> None:
    assert proof.problems_of_queue(proof.committed(), arrived) == []


@pytest.mark.parametrize(
    ("arrived", "problem"),
    [
        ([FIRST, OTHER], "1 orders are not in the queue:\n  order 1000001, key-00, number 2: row 1 to /queue/orders"),
        ([FIRST, SECOND, OTHER, ("key-00", 5, "x")], "are in the queue, and were not committed:\n  order 5"),
        ([FIRST, SECOND, OTHER, ("key-00", 1_000_000, "x")], "have copies with another id:\n  order 1000000"),
        (
            [SECOND, FIRST, SECOND, OTHER],
            "of key-00 came after a later one:\n  order 1000000, key-00, number 1: no",
        ),
    ],
    ids=["missing", "rolled back", "another id", "out of order"],
)
def test_a_queue_that_is_wrong_is_described(proof: Proof, arrived: list[tuple[str, int, str]], problem: str) -> None:
    (found,) = proof.problems_of_queue(proof.committed(), arrived)
    assert problem in found


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        ([FIRST, OTHER], "are not in the receiving database:\n  order 1000001, key-00, number 2: row 1"),
        ([FIRST, SECOND, OTHER, ("", 5, "x")], "were received, and were not committed"),
        ([FIRST, SECOND, OTHER, FIRST], "were received more than once:\n  order 1000000"),
    ],
    ids=["missing", "rolled back", "twice"],
)
def test_a_receiving_database_that_is_wrong_is_described(
    proof: Proof, received: list[tuple[str, int, str]], problem: str
) -> None:
    (found,) = proof.problems_of_receivers(proof.committed(), [each[1:] for each in received])
    assert problem in found


def test_a_committed_order_that_its_database_has_lost_is_found(proof: Proof, tmp_path: Path) -> None:
    (tmp_path / "producer-1.txt").write_text(
        "".join(f"commit {order}\ncommitted {order}\n" for order in (1_000_000, 1_000_001, 1_000_002, 1_000_003))
    )
    for number in range(2, 9):
        (tmp_path / f"producer-{number}.txt").write_text("")
    problems = proof.problems_of_journals(proof.committed())
    assert "1 orders were committed, and are not in their database:\n  order 1000003" in problems[0]
