"""`Inbox` begins a transaction, and inserts a row for the message. The handler is called only if the row is new."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing

from sqlalchemy import Engine, MetaData, event, inspect, select
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    TimeoutError,  # noqa: A004
    UnboundExecutionError,
)
from sqlalchemy.orm import Session

from .._internal.log import get_logger
from ..errors import ConfigurationError
from ..outbox.turn import database_file
from ..worker import ReceivedMessage
from ..worker.once import InboxUnavailable, bounded
from .tables import INBOX_TABLE, inbox_table, missing_table, schema_of

__all__ = ["INBOX_OPTIONS", "Inbox", "sqlite_timeout"]

_log = get_logger("inbox")

#: The `info` of a metadata has the options of its last inbox under this key. Flask's worker takes these options.
INBOX_OPTIONS: typing.Final = "stomp_web.inbox_options"

_PURGED_EVERY: typing.Final = 3600.0  # seconds
# A missing table is an OperationalError on SQLite, and a ProgrammingError elsewhere.
_FAULTS: typing.Final = (OperationalError, ProgrammingError, InterfaceError, InternalError, TimeoutError)


class Inbox:
    """Runs each ``once=True`` handler only once for each message, even if the broker delivers the message again.

    Each call of the handler has its own transaction, which also inserts a row for the handler and the message. If the
    row exists, the message is only acknowledged. If the handler raises an exception, the transaction is rolled back and
    the message is tried again.

    * *metadata* - the application's `sqlalchemy.MetaData`. The inbox adds its table to the metadata.
    * *session_factory* - a callable that returns a `sqlalchemy.orm.Session`, such as a ``sessionmaker`` or a
      ``scoped_session``. With Flask-SQLAlchemy, pass ``db.session``. The handler then gets the current session.
    * *table* - the table's name.
    * *keep* - how many days a row is kept. Default: 30. If a message comes again after this time, it is handled again.

    >>> from sqlalchemy import create_engine
    >>> from sqlalchemy.orm import sessionmaker
    >>> from stomp_web.worker import Worker
    >>> worker = Worker(inbox=Inbox(MetaData(), sessionmaker(create_engine("sqlite://"))))
    >>> @worker.subscribe("/queue/orders", once=True)
    ... def place_order(message, session):
    ...     session.add(Order(**message.payload))
    """

    arguments = 2

    def __init__(
        self,
        metadata: MetaData,
        session_factory: typing.Callable[[], Session],
        *,
        table: str = INBOX_TABLE,
        keep: float = 30.0,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep < 36_500:
            raise ConfigurationError(f"keep must be a number of days, not {keep!r}", "keep")
        if not callable(session_factory):
            raise ConfigurationError(
                "session_factory must return a session when it is called, as sessionmaker(engine) and "
                f"Flask-SQLAlchemy's db.session do; a {type(session_factory).__name__} cannot be called",
                "session_factory",
            )
        self.table = inbox_table(metadata, table)
        metadata.info[INBOX_OPTIONS] = {"table": table, "keep": keep}
        self._session_factory = session_factory
        self._keep = datetime.timedelta(days=keep)
        self._purge_at = time.monotonic()

    def check(self) -> None:
        """See `stomp_web.worker.once.OnceInbox`."""
        try:
            with self._session_factory() as session:
                connection = session.connection(bind_arguments={"clause": self.table})
                if not inspect(connection).has_table(self.table.name, schema_of(connection, self.table)):
                    raise missing_table(self.table, connection.engine)
        except UnboundExecutionError:
            raise ConfigurationError(
                "the sessions of the inbox have no database; give the inbox sessionmaker(engine)", "session_factory"
            ) from None
        except _FAULTS as error:
            _log.warning("the inbox %s cannot be reached, and messages wait: %s", self.table.fullname, _words(error))

    def run(
        self, handler: str, identity: str, function: typing.Callable[..., object], message: ReceivedMessage
    ) -> object:
        """Call *function* with *message* and a session, unless *handler* has handled the message before.

        See `stomp_web.worker.once.OnceInbox`.
        """
        with contextlib.ExitStack() as stack:
            try:
                if time.monotonic() >= self._purge_at:
                    self._purge_at = time.monotonic() + _PURGED_EVERY
                    self.purge()
                session = stack.enter_context(self._session_factory())
                is_new = self._insert(session, bounded(handler), bounded(identity))
            except _FAULTS as error:
                text = f"the inbox {self.table.fullname} cannot be used: {_words(error)}"
                raise InboxUnavailable(text) from error
            if is_new:
                with _no_end_of_transaction(session):
                    result = function(message, session)
                session.commit()
                return result
        _log.info("message %s was handled before, and is not handled again by %s", identity, handler)
        return None

    def _insert(self, session: Session, handler: str, identity: str) -> bool:
        """Insert the row. Return whether the row is new."""
        row = {"handler": handler, "message_id": identity, "created_at": datetime.datetime.now(datetime.UTC)}
        try:
            session.execute(self.table.insert().values(row))
        except IntegrityError:
            session.rollback()
            if not self._holds(session, row):
                raise
            return False
        return True

    def _holds(self, session: Session, row: dict[str, typing.Any]) -> bool:
        column = self.table.c
        found = select(column.id).where(column.handler == row["handler"], column.message_id == row["message_id"])
        return session.execute(found).first() is not None

    def purge(self) -> int:
        """Delete the rows that are older than *keep* days: see `Inbox`. Return how many rows were deleted."""
        before = datetime.datetime.now(datetime.UTC) - self._keep
        with self._session_factory() as session:
            result = session.execute(self.table.delete().where(self.table.c.created_at < before))
            session.commit()
            return typing.cast(int, result.rowcount)  # type: ignore[attr-defined]


def sqlite_timeout(engine: Engine) -> float | None:
    """Return for how many seconds at most a connection of *engine* waits while another connection writes.

    Return ``None`` if the database is not a file of SQLite or cannot be opened. No connection stays open.
    """
    if engine.dialect.name != "sqlite" or database_file(engine.url.database or "") is None:
        return None
    try:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()) / 1000
    except OperationalError:
        return None
    finally:
        engine.dispose()


@contextlib.contextmanager
def _no_end_of_transaction(session: Session) -> typing.Iterator[None]:
    """Raise `ConfigurationError` if the handler in the ``with`` block commits or rolls back the transaction.

    In this transaction, the inbox has inserted its row. The inbox commits the transaction after the handler.
    """
    transaction = session.get_transaction()
    event.listen(session, "before_commit", _refuse_commit)
    try:
        yield
    finally:
        event.remove(session, "before_commit", _refuse_commit)
    if session.get_transaction() is not transaction:
        raise ConfigurationError(
            "the handler has rolled back or closed its session, and with it the row of the inbox. For a part that may "
            "be rolled back, use session.begin_nested(). If the message cannot be handled, raise an exception"
        )


def _refuse_commit(session: Session) -> None:
    if session.get_nested_transaction() is None:
        raise ConfigurationError(
            "a handler with once=True must not commit its session: the inbox commits it when the handler has returned. "
            "Leave out commit(); to send the statements so far to the database, call session.flush()"
        )


def _words(error: Exception) -> str:
    """Return the driver's error without the statement and its values."""
    return str(getattr(error, "orig", None) or error)
