"""Alembic sees the tables of an outbox and an inbox by itself: they are in the application's metadata."""

from __future__ import annotations

import typing

import pytest

pytest.importorskip("alembic")

from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from sqlalchemy import Engine, MetaData, inspect
from sqlalchemy.orm import sessionmaker

from stomp_web import Publisher
from stomp_web.sqlalchemy import Inbox, Outbox


@pytest.fixture
def metadata() -> typing.Iterator[MetaData]:
    metadata = MetaData()
    with Publisher("memory://") as publisher:
        Outbox(metadata, publisher)
        Inbox(metadata, sessionmaker())
        yield metadata


def test_an_empty_database_gets_the_tables_and_nothing_is_left_to_do_then(engine: Engine, metadata: MetaData) -> None:
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        upgrade = produce_migrations(context, metadata).upgrade_ops
        assert upgrade is not None
        made = [each.table_name for each in upgrade.ops if isinstance(each, ops.CreateTableOp)]
        assert sorted(made) == ["stomp_web_inbox", "stomp_web_outbox"]
        run(upgrade.ops, Operations(context))
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        indexes = {each["name"] for each in inspect(connection).get_indexes("stomp_web_outbox")}
    assert indexes == {"stomp_web_outbox_state", "stomp_web_outbox_key"}


def run(made: typing.Iterable[ops.MigrateOperation], operations: Operations) -> None:
    """Do what a migration with these operations does."""
    for each in made:
        if isinstance(each, ops.OpContainer):
            run(each.ops, operations)
        else:
            operations.invoke(each)


def test_tables_that_create_all_has_made_are_no_difference(engine: Engine, metadata: MetaData) -> None:
    metadata.create_all(engine)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
