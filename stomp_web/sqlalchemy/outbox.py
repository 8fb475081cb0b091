"""`Outbox` writes each message as a row of a table, in the session's transaction."""

from __future__ import annotations

import typing

from sqlalchemy import Connection, Engine, MetaData, TwoPhaseTransaction, func
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from ..errors import ConfigurationError
from ..outbox import Relay, new_row
from ..outbox.missing import is_missing_table
from ..outbox.relay import DEFAULT_BATCH, DEFAULT_MAX_ATTEMPTS, DEFAULT_POLL
from ..outbox.rows import LONGEST_ALIAS
from ..publisher import Publisher
from .sessions import AnySession, Ending, plain_session
from .store import SqlAlchemyStore
from .tables import OUTBOX_TABLE, missing_table, outbox_table

__all__ = ["Outbox"]

_DAY: typing.Final = 86_400.0


class Outbox:
    """Writes messages into a table, in the caller's transaction. A relay sends the messages after the commit.

    * *metadata* - the application's `sqlalchemy.MetaData`. The outbox adds its table to the metadata, so that
      ``create_all`` and Alembic see the table. A second outbox with the same metadata and *table* shares the table.
    * *publisher* - the `Publisher` whose serializers, options and connections are used.
    * *table* - the table's name.
    * *keep* - how many days the row of a sent message is kept. Default: 0, which means that the row is deleted at once.
    * *relay* - ``None`` or ``"inline"``. With ``None``, the default, a relay sends all messages. With ``"inline"``, the
      process that commits a transaction sends the transaction's messages right after the commit. A relay sends the
      messages that remain unsent.
    * *alias* - a name of 1 to 64 characters for the publisher. Outboxes with different aliases can share one table. The
      relay of an outbox sends only the messages with the alias of this outbox.
    * *notify* - on PostgreSQL, whether a commit wakes the relays with ``NOTIFY``. A two-phase commit never wakes them.

    >>> from sqlalchemy import create_engine
    >>> metadata, publisher = MetaData(), Publisher("memory://")
    >>> outbox = Outbox(metadata, publisher)
    >>> engine = create_engine("sqlite://")
    >>> metadata.create_all(engine)
    >>> with Session(engine) as session, session.begin():
    ...     message_id = outbox.send(session, "/queue/orders", {"id": 7}, key="7")
    >>> exit_code = outbox.relay(engine).run(once=True)
    >>> publisher.outbox[0].payload
    {'id': 7}

    Raises `ConfigurationError` for a bad option.
    """

    def __init__(
        self,
        metadata: MetaData,
        publisher: Publisher,
        *,
        table: str = OUTBOX_TABLE,
        keep: float = 0.0,
        relay: str | None = None,
        notify: bool = True,
        alias: str = "default",
    ) -> None:
        if not isinstance(publisher, Publisher):
            raise ConfigurationError(
                f"publisher must be a Publisher, not {type(publisher).__name__}; in Flask, it is "
                "app.extensions['stomp'].publisher, after init_app(app)",
                "publisher",
            )
        if relay not in (None, "inline"):
            raise ConfigurationError(f"relay must be 'inline' or None, not {relay!r}", "relay")
        if not isinstance(table, str) or not table:
            raise ConfigurationError(f"table must be the name of a table, not {table!r}", "table")
        if not isinstance(notify, bool):
            raise ConfigurationError(f"notify must be True or False, not {notify!r}", "notify")
        if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 <= keep < 36_500:
            raise ConfigurationError(f"keep must be a number of days, not {keep!r}", "keep")
        if not isinstance(alias, str) or not 0 < len(alias) <= LONGEST_ALIAS:
            raise ConfigurationError(f"alias must be a text of 1 to {LONGEST_ALIAS} characters, not {alias!r}", "alias")
        self.publisher = publisher
        self._alias = alias
        #: The `sqlalchemy.Table`.
        self.table = outbox_table(metadata, table)
        self.keep = float(keep)
        self._inline = relay == "inline"
        self._notify = notify
        self._stores: dict[Engine, SqlAlchemyStore] = {}

    def __repr__(self) -> str:
        return f"<Outbox {self.table.fullname} for {self.publisher.url}>"

    def send(
        self,
        session: AnySession,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        key: str | None = None,
        **options: typing.Any,
    ) -> str:
        """Write one message into the transaction of *session*, and return its id.

        * *session* - a `sqlalchemy.orm.Session`, a ``scoped_session`` or a `sqlalchemy.Connection`. Flask-SQLAlchemy's
          ``db.session`` is a ``scoped_session``. A rollback removes the message, and so does a
          rollback to an earlier savepoint.
        * *key* - a text of 1 to 255 characters, such as ``str(order.id)``. Messages with the same key reach the broker
          in the order in which they were written. Other messages do not wait for each other.
        * *destination*, *payload*, *headers* and the other *options* - see `Publisher.send`. *confirm* and *timeout*
          are refused, because a relay always waits for the broker's receipt.

        Raises `SerializationError`, `InvalidFrame` or `ConfigurationError` if the message can never be sent. Raises
        `ConfigurationError` if *key* is invalid, or if *session* is unusable, for example in autocommit mode. Also
        raises database errors. After an error, nothing is written.
        """
        if options.keys() & {"confirm", "timeout"}:
            raise ConfigurationError(
                "a message in the outbox has no confirm and no timeout: the relay waits for the broker's receipt, and "
                "tries until it comes"
            )
        message = self.publisher.prepare(destination, payload, headers, **options)
        plain = plain_session(session)
        connection = plain if isinstance(plain, Connection) else plain.connection(bind_arguments={"clause": self.table})
        _refuse_autocommit(connection)
        if self._inline and not isinstance(plain, Session):
            raise ConfigurationError("relay='inline' needs a session; with a Connection, run a relay", "relay")
        row = new_row(message, key, self._alias, self.publisher.observers)
        names = ("message_id", "destination", "headers", "content_type", "body", "key", "alias", "ttl", "created_at")
        values = {name: getattr(row, name) for name in (*names, "state")}
        insert = self.table.insert().values(**values, attempts=0, last_error="")
        # PostgreSQL refuses to prepare a transaction that notifies.
        two_phases = getattr(plain, "twophase", False) or isinstance(connection.get_transaction(), TwoPhaseTransaction)
        try:
            if self._notify and connection.dialect.name == "postgresql" and not two_phases:
                insert = insert.returning(self.table.c.id, func.pg_notify(self.table.name, ""))
                identity = connection.execute(insert).scalars().one()
            else:
                identity = connection.execute(insert).inserted_primary_key[0]  # type: ignore[index]
        except StatementError as error:
            error.hide_parameters = True  # the body is a parameter
            if is_missing_table(error):
                raise missing_table(self.table, connection.engine) from error
            raise
        if self.publisher.is_captured:  # a test sees the message as sent; the row is written, too
            self.publisher.deliver([message])
        elif self._inline and isinstance(plain, Session):
            Ending.of(plain).after_commit(self, (connection.engine, identity), self._send_now)
        return row.message_id

    def relay(
        self,
        engine: Engine,
        *,
        poll: float = DEFAULT_POLL,
        batch: int = DEFAULT_BATCH,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    ) -> Relay:
        """Return a relay for the outbox in the database of *engine*. `Relay` documents the other arguments."""
        options: dict[str, typing.Any] = {"poll": poll, "batch": batch, "max_attempts": max_attempts}
        return Relay(self.store(engine), self._publisher, alias=self._alias, **options)

    def store(self, engine: Engine) -> SqlAlchemyStore:
        """Return the store of the outbox in the database of *engine*.

        The store has statistics, and actions for an operator, such as ``retry``.
        """
        known = self._stores.get(engine)
        made = known or SqlAlchemyStore(engine, self.table, keep=self.keep * _DAY, alias=self._alias)
        return self._stores.setdefault(engine, made)

    def _publisher(self, _alias: str) -> Publisher:
        return self.publisher

    def _send_now(self, written: typing.Sequence[tuple[Engine, int]]) -> None:
        by_engine: dict[Engine, list[int]] = {}
        for engine, identity in written:
            by_engine.setdefault(engine, []).append(identity)
        for engine, ids in by_engine.items():
            self.relay(engine).send(ids)


def _refuse_autocommit(connection: Connection) -> None:
    options = connection.get_execution_options()
    level = options.get("isolation_level", getattr(connection.dialect, "_on_connect_isolation_level", None))
    if str(level).upper() == "AUTOCOMMIT" or _driver_commits(connection):
        raise ConfigurationError(
            "the session is in autocommit mode, in which there is no transaction that the message could be part of; "
            "nothing was written. Use an engine without isolation_level='AUTOCOMMIT', and a driver without autocommit"
        )


def _driver_commits(connection: Connection) -> bool:
    """Return whether the driver's connection is in autocommit mode, in which the driver commits each statement.

    For SQLite, return ``False`` even in autocommit mode, because the application may send ``BEGIN`` itself.
    """
    if connection.dialect.name not in {"postgresql", "mysql", "mariadb"}:
        return False
    driver = connection.connection.driver_connection
    ask = getattr(driver, "get_autocommit", None)  # PyMySQL and mysqlclient
    return (ask() if callable(ask) else getattr(driver, "autocommit", False)) is True
