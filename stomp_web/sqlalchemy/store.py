"""`SqlAlchemyStore` reads and writes the outbox table with SQLAlchemy."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import threading
import typing

import sqlalchemy
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Engine,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    case,
    cast,
    func,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, TimeoutError  # noqa: A004

from ..errors import ConfigurationError
from ..outbox import FAILED, PENDING, SENT, WAITING, OutboxStats, Row, Store
from ..outbox.mysql import delete_one_by_one, lock_those_that_wait
from ..outbox.order import Candidate
from ..outbox.postgresql import COMMIT_SOON, ConnectionListener, array, can_listen
from ..outbox.rows import ROW_COLUMNS, rows_of
from ..outbox.store import Listener
from ..outbox.turn import FileTurn, database_file
from .tables import aware, missing_table, schema_of

__all__ = ["SqlAlchemyStore", "make_engine"]

_UNSENT: typing.Final = (PENDING, WAITING, FAILED)


def make_engine(address: str, name: str = "--database") -> Engine:
    """Return an engine for a command. *address* is the URL of the database.

    Raises `ConfigurationError` if *address* is invalid or the driver is missing. *name* is the name of the option or
    setting that contains *address*. The error shows this name, but not *address*, which may contain a password.
    """
    try:
        # A relay may be idle for hours, and something in between may cut its connection.
        return sqlalchemy.create_engine(address, pool_pre_ping=True)
    except ImportError as error:
        raise ConfigurationError(f"{name}: {error}", "database") from None
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"{name} is no address of a database that SQLAlchemy knows, such as postgresql+psycopg://shop@db/shop",
            "database",
        ) from None


class SqlAlchemyStore(Store):
    """The outbox in the table *table*, in the database of *engine*. A sent row is kept for *keep* seconds.

    Only messages with this *alias* are sent and counted. If *alias* is ``None``, all messages are sent and counted.
    """

    lost: tuple[type[Exception], ...] = (OperationalError, InterfaceError, InternalError, TimeoutError)

    def __init__(self, engine: Engine, table: Table, *, keep: float = 0.0, alias: str | None = None) -> None:
        dialect = engine.dialect.name
        if dialect not in {"postgresql", "mysql", "mariadb", "sqlite"}:
            raise ConfigurationError(
                f"a relay does not know {dialect}; it works with PostgreSQL, MariaDB from 10.6, MySQL from 8.0 and "
                "SQLite"
            )
        self._table = aware(table)
        self._alias = alias
        self.keep = keep
        self._address = engine.url.render_as_string(hide_password=True)
        self.name = f"{table.fullname} in {self._address}"
        if dialect == "sqlite":
            self.turn = FileTurn(database_file(engine.url.database or ""))
            self._engine = engine
        else:
            self._engine = engine.execution_options(isolation_level="READ COMMITTED")
        # While SQLAlchemy sets the isolation level, it does not translate the driver's errors.
        driver = engine.dialect.dbapi
        if driver is not None:
            self.lost = (*self.lost, driver.OperationalError, driver.InterfaceError, driver.InternalError)
        # The statements of each batch are made once: making one, and its cache key, takes longer than executing it.
        self._pending, self._unsent = functools.cache(self._make_pending), functools.cache(self._make_unsent)
        self._delete = functools.cache(self._make_delete)
        self._waiting_behind = functools.cache(self._make_waiting_behind)
        self._of_thread = threading.local()  # `connection`: the connection of the open transaction

    def check(self) -> None:
        """Raise `ConfigurationError` if the table does not exist, or if MariaDB or MySQL is too old."""
        with self._engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(self._table.name, schema_of(connection, self._table)):
                raise missing_table(self._table, self._engine)
            dialect = connection.dialect
            if dialect.name in {"mysql", "mariadb"}:
                least = (10, 6) if getattr(dialect, "is_mariadb", False) else (8,)
                if (dialect.server_version_info or least) < least:
                    raise ConfigurationError(
                        f"{self._address} cannot skip locked rows, which a relay needs: MariaDB from 10.6 and MySQL "
                        "from 8.0 can"
                    )

    @contextlib.contextmanager
    def transaction(self) -> typing.Iterator[None]:
        """Return a context manager for a transaction on a connection of the engine's pool.

        In the ``with`` block, the same thread may begin a second transaction on another connection. For example, an
        observer of a sent message may write to the outbox.
        """
        outer = getattr(self._of_thread, "connection", None)
        with self._engine.begin() as connection:
            self._of_thread.connection = connection
            try:
                if self.turn is not None:
                    # Write first: after a read, the write would fail at once if another transaction has written.
                    self.update([-1], attempts=0)
                yield
            finally:
                self._of_thread.connection = outer

    @property
    def _connection(self) -> Connection:
        return typing.cast(Connection, self._of_thread.connection)

    def pending(
        self, limit: int, ids: typing.Sequence[int] | None, skip: typing.Collection[str], after: int, largest: int
    ) -> tuple[list[Row], set[int]]:
        """See `Store.pending`."""
        values = {
            "limit": limit,
            "among": self._many(ids or ()),
            "skip": list(skip),
            "after": after,
            "largest": largest,
        }
        statement = self._pending(ids is not None, bool(skip), after > 0)
        if self._is_mysql:
            # MariaDB 10.11 finds ids by the index. For whole rows, it may sort the whole table, and thereby lock it.
            locked = self._connection.execute(statement, values).scalars().all()
            statement = select(*self._read()).where(self._among(locked)).order_by(self._table.c.id)
        rows = rows_of(self._connection.execute(statement, values).all())
        return rows, {row.id for row in rows if row.body is None}

    def _read(self) -> list[ColumnElement[typing.Any]]:
        """Return the columns or expressions that `pending` selects, in the order of `ROW_COLUMNS`."""
        column = self._table.c
        columns: dict[str, ColumnElement[typing.Any]] = {
            "body": case((func.length(column.body) <= bindparam("largest"), column.body)),
            "created_at": case((column.ttl.is_not(None), column.created_at)),
        }
        return [columns.get(name, column[name]) for name in ROW_COLUMNS]

    def _make_pending(self, has_ids: bool, has_skip: bool, has_after: bool) -> Select[typing.Any]:
        column = self._table.c
        statement: Select[typing.Any] = self._own(select(column.id)).where(
            column.state == PENDING, column.next_attempt_at.is_(None)
        )
        if has_ids:
            statement = statement.where(self._is_among(column.id))
        if has_skip:
            statement = statement.where(column.alias.not_in(bindparam("skip", expanding=True)))
        if has_after:
            statement = statement.where(column.id > bindparam("after"))
        statement = statement.limit(bindparam("limit"))
        if self._is_mysql:
            return self._locking(statement.order_by(column.id))
        # PostgreSQL does not see that the index is in the order of the ids where `next_attempt_at` is NULL.
        ordered = statement.with_only_columns(*self._read()).order_by(column.next_attempt_at, column.id)
        return self._locking(ordered)

    def unsent(self, keys: typing.Sequence[str], last: int, limit: int) -> dict[str, int]:
        """See `Store.unsent`."""
        # When MySQL locks rows, it reads them as they are now, but other rows as they were. So this query is separate.
        found = self._connection.execute(self._unsent(), {"among": self._many(keys), "last": last, "limit": limit})
        return {key: count for key, count in found.all()}  # noqa: C416 - as in `stats`

    def _make_unsent(self) -> Select[typing.Any]:
        column = self._table.c
        near = select(column.key).where(
            self._is_among(column.key), column.state.in_(_UNSENT), column.id <= bindparam("last")
        )
        counted = near.limit(bindparam("limit")).subquery()
        return select(counted.c.key, func.count()).group_by(counted.c.key)

    def candidates(self, ids: typing.Sequence[int]) -> list[Candidate]:
        """See `Store.candidates`."""
        column = self._table.c
        before = {state: self._last_before(state) for state in _UNSENT}
        details = select(column.id, column.key, *before.values(), func.length(column.body))
        return [
            Candidate.of(id_, key, dict(zip(before, previous, strict=True)), size)
            for id_, key, *previous, size in self._connection.execute(
                details.where(self._among(ids)).order_by(column.id)
            )
        ]

    def _last_before(self, state: str) -> typing.Any:
        """Return a subquery for the highest id below the outer row's id.

        The subquery searches only rows that have the state *state* and the same key as the outer row.
        """
        other, column = self._table.alias(), self._table.c
        return (
            select(func.max(other.c.id))
            .where(other.c.key == column.key, other.c.state == state, other.c.id < column.id)
            .scalar_subquery()
        )

    def _among(self, ids: typing.Collection[int]) -> ColumnElement[bool]:
        """Return the condition that a row's id is among *ids*."""
        return self._is_among(self._table.c.id, self._many(ids))

    def _is_among(self, column: Column[typing.Any], values: typing.Any = None) -> ColumnElement[bool]:
        """Return the condition that *column* is among *values*.

        If *values* is ``None``, the caller passes the values as the parameter ``among`` when it executes the statement.
        """
        if self._engine.dialect.name != "postgresql":
            return column.in_(bindparam("among", expanding=True) if values is None else values)
        given = bindparam("among", values, type_=Text(), unique=values is not None, required=values is None)
        kind = BigInteger() if column is self._table.c.id else Text()
        return column == any_(cast(given, ARRAY(kind)))

    def _many(self, values: typing.Collection[int | str]) -> str | list[int | str]:
        """Return *values* as a list. For PostgreSQL, return an array literal, because many parameters are slow."""
        return array(values) if self._engine.dialect.name == "postgresql" else list(values)

    def _own(self, statement: Select[typing.Any]) -> Select[typing.Any]:
        return statement if self._alias is None else statement.where(self._table.c.alias == self._alias)

    def _locking(self, statement: Select[typing.Any], *, skip_locked: bool = True) -> Select[typing.Any]:
        if self.turn is not None:
            return statement
        return statement.with_for_update(skip_locked=skip_locked)

    def _ids(self, statement: Select[typing.Any], *, skip_locked: bool = True) -> list[int]:
        return list(self._connection.execute(self._locking(statement, skip_locked=skip_locked)).scalars())

    def load(self, ids: typing.Sequence[int]) -> list[Row]:
        """See `Store.load`."""
        columns = [self._table.c[name] for name in ROW_COLUMNS]
        statement = select(*columns).where(self._among(ids)).order_by(self._table.c.id)
        return rows_of(self._connection.execute(statement).all())

    def lock(self, ids: typing.Collection[int], states: typing.Sequence[str]) -> set[int]:
        """See `Store.lock`."""
        column = self._table.c
        return set(self._ids(select(column.id).where(self._among(ids), column.state.in_(states))))

    def some(self, state: str, after: int, limit: int) -> list[int]:
        """See `Store.some`."""
        column = self._table.c
        statement = select(column.id).where(column.state == state, column.id > after)
        return self._ids(statement.order_by(column.id).limit(limit))

    def orphans(self, limit: int) -> list[int]:
        """See `Store.orphans`."""
        column, other = self._table.c, self._table.alias()
        before = select(other.c.id).where(other.c.key == column.key, other.c.id < column.id, other.c.state != SENT)
        statement = select(column.id).where(column.state == WAITING, column.next_attempt_at.is_(None), ~before.exists())
        return self._ids(statement.order_by(column.id).limit(limit))

    def due(self, state: str, moment: datetime.datetime, limit: int) -> list[int]:
        """See `Store.due`."""
        column = self._table.c
        statement = select(column.id).where(column.state == state, column.next_attempt_at <= moment)
        return self._ids(statement.order_by(column.next_attempt_at, column.id).limit(limit))

    def waiting_behind(self, keys: typing.Collection[str], limit: int) -> list[int]:
        """See `Store.waiting_behind`."""
        statement = self._waiting_behind()
        values = {"among": self._many(keys), "limit": limit}
        ids = self._connection.execute(statement, values).scalars().all()
        if self._is_mysql:
            return list(self._execute(lock_those_that_wait, ids).scalars()) if ids else []
        return list(ids)

    def _make_waiting_behind(self) -> Select[typing.Any]:
        column = self._table.c
        waits = self._is_among(column.key), column.state == WAITING, column.next_attempt_at.is_(None)
        statement = select(column.id).where(*waits).order_by(column.id).limit(bindparam("limit"))
        return statement if self._is_mysql else self._locking(statement, skip_locked=False)

    def keys(self, ids: typing.Sequence[int]) -> set[str]:
        """See `Store.keys`."""
        column = self._table.c
        statement = select(column.key).distinct().where(self._among(ids), column.key.is_not(None))
        return set(self._connection.execute(statement).scalars())

    def update(self, ids: typing.Sequence[int], **values: object) -> None:
        """See `Store.update`."""
        self._connection.execute(self._table.update().where(self._among(ids)).values(values))

    def delete(self, ids: typing.Sequence[int]) -> None:
        """See `Store.delete`."""
        if self._is_mysql:
            self._execute(delete_one_by_one, ids)
        else:
            self._connection.execute(self._delete(), {"among": self._many(ids)})

    def _make_delete(self) -> Delete:
        return self._table.delete().where(self._is_among(self._table.c.id))

    @property
    def _is_mysql(self) -> bool:
        return self._engine.dialect.name in {"mysql", "mariadb"}

    def _execute(
        self, statement: typing.Callable[[str, str], str], ids: typing.Sequence[int]
    ) -> CursorResult[typing.Any]:
        """Execute the SQL text that the function *statement* returns. *ids* are the ids of the rows.

        *statement* is a function of the module `stomp_web.outbox.mysql`.
        """
        preparer = self._engine.dialect.identifier_preparer
        table = preparer.format_table(self._table, use_schema=False)
        if schema := schema_of(self._connection, self._table):
            table = f"{preparer.quote_schema(schema)}.{table}"
        return self._connection.execute(text(statement(table, ":ids")), {"ids": json.dumps(list(ids))})

    def commit_soon(self) -> None:
        """See `Store.commit_soon`."""
        if self._engine.dialect.name == "postgresql":
            self._connection.exec_driver_sql(COMMIT_SOON)

    def stats(self) -> OutboxStats:
        """See `Store.stats`."""
        column = self._table.c
        with self.transaction():
            rows = self._connection.execute(self._own(select(column.state, func.count())).group_by(column.state))
            counts: dict[str, int] = {state: count for state, count in rows}  # noqa: C416 - a Row is no tuple for mypy
            first = [
                self._connection.execute(
                    self._own(select(column.created_at)).where(column.state == state).order_by(column.id).limit(1)
                ).scalar()
                for state in _UNSENT
            ]
        return OutboxStats.of(counts, first, datetime.datetime.now(datetime.UTC))

    def listen(self) -> Listener | None:
        """See `Store.listen`."""
        if self._engine.dialect.name != "postgresql":
            return None
        pooled = self._engine.raw_connection()
        driver: typing.Any = pooled.driver_connection
        if not can_listen(driver):
            pooled.close()
            return None
        pooled.detach()  # the connection does not go back to the pool
        try:
            driver.autocommit = True
        except BaseException:
            driver.close()
            raise
        return ConnectionListener(driver, self._table.name, driver.close)
