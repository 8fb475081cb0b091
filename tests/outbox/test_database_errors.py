from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from stomp_web.errors import StompError
from stomp_web.outbox import Store
from stomp_web.outbox.command import operate
from stomp_web.outbox.database_errors import is_conflict, words_of

if TYPE_CHECKING:
    from pathlib import Path


class Postgres(Exception):
    def __init__(self, text: str, sqlstate: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class Wrapped(Exception):
    """An error of SQLAlchemy."""

    def __init__(self, orig: Exception) -> None:
        super().__init__("with the statement")
        self.orig = orig


DEADLOCK = "Deadlock found when trying to get lock; try restarting transaction"


@pytest.mark.parametrize(
    ("error", "conflict"),
    [
        (Exception(1213, DEADLOCK), True),
        (Exception(1205, "Lock wait timeout exceeded; try restarting transaction"), True),
        (Exception(2013, "Lost connection to server during query"), False),
        (Postgres("deadlock detected", "40P01"), True),
        (Postgres("canceling statement due to lock timeout", "55P03"), True),
        (Postgres("terminating connection due to administrator command", "57P01"), False),
        (Exception("server closed the connection unexpectedly"), False),
        (Exception(), False),
    ],
)
def test_a_lock_of_another_transaction_is_told_from_a_lost_connection(error: Exception, conflict: bool):
    of_django = Exception("as Django raises it")
    of_django.__cause__ = error
    assert [is_conflict(each) for each in (error, Wrapped(error), of_django)] == [conflict] * 3


def test_a_locked_database_of_sqlite_is_one_and_a_missing_one_is_not(tmp_path: Path):
    one, other = (sqlite3.connect(tmp_path / "shop.db", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        other.execute("BEGIN IMMEDIATE")
    one.close()
    other.close()
    assert is_conflict(locked.value)
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect(tmp_path / "nowhere" / "shop.db")
    assert not is_conflict(missing.value)


def test_the_words_of_an_error_have_no_statement():
    assert words_of(Wrapped(ValueError("refused"))) == "ValueError: refused"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError("no route to host"), "the shop cannot be reached: TimeoutError: no route to host"),
        (TimeoutError(1213, DEADLOCK), "the shop was locked by another transaction: TimeoutError: .*Deadlock found"),
    ],
)
def test_an_operator_is_told_why_the_database_does_nothing(error: Exception, says: str):
    class Broken(Store):
        name = "the shop"
        lost = (TimeoutError,)

        def check(self) -> None:
            raise error

    with pytest.raises(StompError, match=says):
        operate(Broken(), "status", (), 0)
