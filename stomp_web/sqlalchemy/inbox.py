"""`Inbox`: a handler's transaction also inserts a row that names the message, so that a copy is not handled again."""

from __future__ import annotations

import datetime
import time
import typing

from sqlalchemy import Engine, MetaData, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from .._internal.log import get_logger
from ..errors import ConfigurationError
from ..outbox.turn import database_file
from ..worker import ReceivedMessage
from ..worker.once import bounded
from .tables import INBOX_TABLE, inbox_table

__all__ = ["Inbox", "sqlite_timeout"]

_log = get_logger("inbox")

_PURGED_EVERY: typing.Final = 3600.0  # seconds


class Inbox:
    """Lets handlers with ``once=True`` run only once for each message, even if it is delivered again.

    Each call has its own transaction, which also inserts a row for the handler and the message. A copy is acknowledged
    and not handled. If the handler raises, everything is rolled back, also the row, and the message is tried again.

    * *metadata* - the application's `sqlalchemy.MetaData`, to which the table is added.
    * *session_factory* - returns a new `sqlalchemy.orm.Session`, as a ``sessionmaker`` does.
    * *table* - the table's name.
    * *keep* - days after which a row is removed; by default 30. A copy that comes later is handled again.

    >>> from sqlalchemy.orm import sessionmaker
    >>> from stomp_web.worker import Worker
    >>> worker = Worker(inbox=Inbox(MetaData(), sessionmaker()))
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
        self.table = inbox_table(metadata, table)
        self._session_factory = session_factory
        self._keep = datetime.timedelta(days=keep)
        self._purge_at = time.monotonic()

    def run(
        self, handler: str, identity: str, function: typing.Callable[..., object], message: ReceivedMessage
    ) -> object:
        """Call *function* with *message* and the session, once. See `stomp_web.worker.once.OnceInbox`."""
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGED_EVERY
            self.purge()
        with self._session_factory() as session:
            row = {
                "handler": bounded(handler),
                "message_id": bounded(identity),
                "created_at": datetime.datetime.now(datetime.UTC),
            }
            try:
                session.execute(self.table.insert().values(row))
            except IntegrityError:
                session.rollback()
                if not self._holds(session, row):
                    raise
                _log.info("message %s was handled before, and is not handled again by %s", identity, handler)
                return None
            result = function(message, session)
            session.commit()
            return result

    def _holds(self, session: Session, row: dict[str, typing.Any]) -> bool:
        column = self.table.c
        found = select(column.id).where(column.handler == row["handler"], column.message_id == row["message_id"])
        return session.execute(found).first() is not None

    def purge(self) -> int:
        """Remove the rows that are older than *keep*, and return how many."""
        before = datetime.datetime.now(datetime.UTC) - self._keep
        with self._session_factory() as session:
            result = session.execute(self.table.delete().where(self.table.c.created_at < before))
            session.commit()
            return typing.cast(int, result.rowcount)  # type: ignore[attr-defined]


def sqlite_timeout(engine: Engine) -> float | None:
    """Return for how many seconds the connections of *engine* wait for another one that writes.

    ``None`` if the database is not a file of SQLite, or cannot be opened. No connection stays open.
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
