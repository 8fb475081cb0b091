"""Alembic sees the tables of an outbox and an inbox by itself: they are in the application's metadata."""

from __future__ import annotations

import shutil
import typing
from pathlib import Path

import pytest

pytest.importorskip("alembic")

from alembic import command
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from sqlalchemy import Engine, MetaData, inspect
from sqlalchemy.orm import Session, sessionmaker

from stomp_web import Publisher
from stomp_web.sqlalchemy import Inbox, Outbox
from stomp_web.worker import ReceivedMessage

ENVIRONMENT = """
from alembic import context

attributes = context.config.attributes
with attributes["engine"].connect() as connection:
    context.configure(connection, target_metadata=attributes["metadata"], render_as_batch=attributes["batch"])
    with context.begin_transaction():
        context.run_migrations()
"""


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


@pytest.mark.parametrize("batch", [False, True], ids=["", "as Flask-Migrate does"])
def test_a_migration_works_as_alembic_has_written_it(engine: Engine, tmp_path: Path, batch: bool) -> None:
    metadata = MetaData()
    inbox = Inbox(metadata, sessionmaker(engine))
    with Publisher("memory://") as publisher:
        outbox = Outbox(metadata, publisher)
        config = configuration(tmp_path, engine=engine, metadata=metadata, batch=batch)
        command.revision(config, "outbox and inbox", autogenerate=True)
        (migration,) = (tmp_path / "versions").glob("*.py")
        assert "stomp_web." not in migration.read_text()

        command.upgrade(config, "head")
        command.check(config)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/orders", 7, key="7")
        assert outbox.relay(engine).run(once=True) == 0
        assert [message.payload for message in publisher.outbox] == [7]
        handled: list[object] = []
        message = ReceivedMessage(7, b"7", {}, "/queue/orders", "m", False, 0)
        for _ in range(2):
            inbox.run("place", "m", lambda message, session: handled.append(message.payload), message)
        assert handled == [7]

        command.downgrade(config, "base")
        assert not {outbox.table.name, inbox.table.name} & set(inspect(engine).get_table_names())


def configuration(folder: Path, **attributes: object) -> Config:
    """The configuration of Alembic with a folder for migrations, as ``alembic init`` makes one."""
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(folder))
    shutil.copy(Path(config.get_template_directory()) / "generic" / "script.py.mako", folder)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions").mkdir()
    return config
