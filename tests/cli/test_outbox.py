from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.cli import main

if TYPE_CHECKING:
    from pathlib import Path

sqlalchemy = pytest.importorskip("sqlalchemy")


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The address of a database with two messages in its outbox, of which the second cannot be read."""
    from sqlalchemy.orm import Session

    from stomp_web.sqlalchemy import Outbox

    metadata = sqlalchemy.MetaData()
    address = f"sqlite:///{tmp_path}/shop.db"
    engine = sqlalchemy.create_engine(address)
    with Publisher("null://") as publisher:
        outbox = Outbox(metadata, publisher)
        metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            for number in (1, 2):
                outbox.send(session, "/queue/a", number)
        with engine.begin() as connection:
            connection.execute(outbox.table.update().where(outbox.table.c.body == b"2").values(headers="no JSON"))
    engine.dispose()
    return address


def test_the_relay_sends_and_what_it_cannot_send_is_shown_and_discarded(database, capsys):
    with Broker() as broker:
        assert main(["relay", "--once", "--database", database, "--url", broker.url]) == 1
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"1"]

    assert main(["outbox", "status", "--database", database]) == 0
    assert "0 pending, 0 waiting, 1 failed, 0 sent and kept" in capsys.readouterr().out
    assert main(["outbox", "retry", "--database", database]) == 0
    assert capsys.readouterr().out == "1 messages will be sent again\n"
    assert main(["relay", "--once", "--database", database, "--url", "memory://"]) == 1
    assert main(["outbox", "discard", "--database", database]) == 0
    assert main(["outbox", "purge", "--database", database]) == 0
    assert main(["relay", "--once", "--database", database, "--url", "memory://"]) == 0


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("sqlite://", "there is no table stomp_web_outbox"),
        ("nonsense", "--database is no address of a database"),
        ("postgresql://shop:hunter2@db:54x2/shop", "--database is no address of a database"),
    ],
)
def test_a_database_that_cannot_be_used_gets_a_sentence(address, says, capsys):
    assert main(["outbox", "status", "--database", address]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "hunter2" not in error


@pytest.mark.parametrize("arguments", ["relay --keep nan", "outbox purge --days -1", "outbox purge --days 36500"])
def test_a_number_of_days_that_is_none_is_refused(arguments, capsys):
    assert main([*arguments.split(), "--database", "sqlite://"]) == 2
    assert "is not a number of days: give 0 or more, and less than 36500" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "after"), [(["1", "2"], []), (["1"], ["2"]), ([], ["1", "2"])])
def test_ids_may_stand_before_and_after_the_options(database, before, after, capsys):
    assert main(["outbox", "discard", *before, "--database", database, *after]) == 0
    assert capsys.readouterr().out == "2 messages were deleted, and will not be sent\n"


@pytest.mark.parametrize(
    ("words", "says"), [(["1", "x"], "argument ID: 'x' is not a whole number"), (["1", "--bad"], "unrecognized argu")]
)
def test_what_is_no_id_after_the_options_is_refused(database, words, says, capsys):
    assert main(["outbox", "discard", "--database", database, *words]) == 2
    assert says in capsys.readouterr().err
    assert main(["outbox", "status", "--database", database]) == 0
    assert "2 pending" in capsys.readouterr().out
