"""The tables of the outbox and the inbox. The columns are the same as in the models of `stomp_web.django`."""

from __future__ import annotations

import datetime
import typing

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from ..errors import ConfigurationError
from ..outbox import rows

__all__ = ["INBOX_TABLE", "OUTBOX_TABLE", "aware", "inbox_table", "missing_table", "outbox_table", "schema_of"]

OUTBOX_TABLE: typing.Final = "stomp_web_outbox"
INBOX_TABLE: typing.Final = "stomp_web_inbox"

# The metadata's `info` has the kind of each table under this key. Alembic would write a table's `info` to migrations.
_KINDS: typing.Final = "stomp_web.kinds"

# SQLite generates ids only for a column of the type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Body = LargeBinary().with_variant(mysql.LONGBLOB, "mysql", "mariadb")
# With these options, MariaDB and MySQL store any character, and keys that differ only in case are different keys.
_BINARY: typing.Final[dict[str, typing.Any]] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}
# Otherwise SQLite could reuse the id of a deleted row, and the relay that has sent this row would delete the new row.
_INCREASING: typing.Final[dict[str, typing.Any]] = {"sqlite_autoincrement": True}
# By default, MySQL's DATETIME would have only whole seconds.
_Moment = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_LongText = Text().with_variant(mysql.LONGTEXT, "mysql", "mariadb")


def outbox_table(metadata: MetaData, name: str) -> Table:
    """Return the table of an outbox. If *metadata* does not have the table yet, add it."""
    known = _known(metadata, name, "outbox")
    if known is not None:
        return known
    return Table(
        name,
        metadata,
        Column("id", _Id, primary_key=True, autoincrement=True),
        Column("message_id", String(rows.LONGEST_ID), nullable=False),
        Column("destination", String(rows.LONGEST_DESTINATION), nullable=False),
        Column("headers", _LongText, nullable=False),
        Column("content_type", String(rows.LONGEST_CONTENT_TYPE)),
        Column("body", _Body, nullable=False),
        Column("key", String(rows.LONGEST_KEY)),
        Column("alias", String(rows.LONGEST_ALIAS), nullable=False),
        Column("ttl", Float),
        Column("created_at", _Moment, nullable=False),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("next_attempt_at", _Moment),
        Column("last_error", _LongText, nullable=False),
        Column("state", String(rows.LONGEST_STATE), nullable=False),
        Index(f"{name}_state", "state", "next_attempt_at", "id"),
        Index(f"{name}_key", "key", "state", "id"),
        **_BINARY,
        **_INCREASING,
    )


def inbox_table(metadata: MetaData, name: str) -> Table:
    """Return the table of an inbox. If *metadata* does not have the table yet, add it."""
    known = _known(metadata, name, "inbox")
    if known is not None:
        return known
    return Table(
        name,
        metadata,
        Column("id", _Id, primary_key=True, autoincrement=True),
        Column("handler", String(255), nullable=False),
        Column("message_id", String(rows.LONGEST_ID), nullable=False),
        Column("created_at", _Moment, nullable=False),
        Index(f"{name}_message", "handler", "message_id", unique=True),
        Index(f"{name}_created_at", "created_at"),
        **_BINARY,
        **_INCREASING,
    )


def schema_of(connection: Connection, table: Table) -> str | None:
    """Return the schema in which *connection* finds *table*. A ``schema_translate_map`` is applied."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    return typing.cast("str | None", translated.get(table.schema, table.schema))


def missing_table(table: Table, engine: Engine) -> ConfigurationError:
    """Return the error for a *table* that is missing in the database of *engine*."""
    return ConfigurationError(
        f"there is no table {table.fullname} in {engine.url.render_as_string(hide_password=True)}; create it by a "
        "migration (Alembic sees it in the metadata, to which an Outbox or Inbox adds it), or by "
        "metadata.create_all(engine)"
    )


def aware(table: Table) -> Table:
    """Return a copy of *table* for SQL statements. The datetime columns of the copy take and return aware datetimes.

    Alembic finds *table* in the application's metadata, and writes the types of the columns into migrations. Therefore,
    *table* itself has only SQLAlchemy's own types.
    """
    copy = table.to_metadata(MetaData())
    for column in copy.columns:
        if isinstance(column.type, DateTime):
            column.type = _AwareMoment()
    return copy


class _AwareMoment(TypeDecorator[datetime.datetime]):
    """The type of a column of aware datetimes. A database without time zones stores the datetimes in UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> typing.Any:
        return _Moment.dialect_impl(dialect)

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None:
            return None
        value = value.astimezone(datetime.UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


def _known(metadata: MetaData, name: str, kind: str) -> Table | None:
    """Return the table called *name* in *metadata*, or ``None`` if this table is missing or was not made for *kind*.

    *kind* is ``outbox`` or ``inbox``. If *metadata* has no table called *name*, record *kind* for this name. The caller
    then makes the table.
    """
    fullname = f"{metadata.schema}.{name}" if metadata.schema else name
    kinds = metadata.info.setdefault(_KINDS, {})
    table = metadata.tables.get(fullname)
    if table is None:
        kinds[fullname] = kind
    return table if kinds.get(fullname) == kind else None
