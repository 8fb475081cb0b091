"""Writes a message into the outbox, in the caller's transaction."""

from __future__ import annotations

import functools
import typing
import weakref

from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from ...client.message import Message
from ...errors import ConfigurationError
from ...outbox import Relay, new_row
from ...outbox.missing import is_missing_table
from ...publisher import Publisher
from ..publishers import publishers
from .models import OutboxMessage
from .settings import OutboxSettings, database_of, read_outbox_settings
from .store import DjangoStore
from .tables import missing_table

__all__ = ["make_relay", "write"]

_DAY: typing.Final = 86_400.0


def write(message: Message, using: str, key: str | None, database: str | None) -> None:
    """Write *message* to the outbox in *database*, in the open transaction. `Publisher.prepare` has made *message*.

    Raises `ConfigurationError` if no transaction is open, *key* is invalid, or the table is missing. Raises
    `InvalidFrame` if a part of the message is too long for its column.
    """
    settings = read_outbox_settings(using)
    database = database or database_of(settings)
    connection = connections[database]
    if not connection.in_atomic_block and connection.get_autocommit():
        raise ConfigurationError(
            f"send(outbox=True) to {message.destination} was called outside of a transaction of the database "
            f"{database!r}, so the message could not be committed together with anything; nothing was written. "
            "Put the call into transaction.atomic()"
        )
    row = new_row(message, key, using, publishers[using].observers)
    values = {name: getattr(row, name) for name in row.__slots__}
    try:
        written = OutboxMessage.objects.using(database).create(**{**values, "created_at": timezone.now()})
    except DatabaseError as error:
        if is_missing_table(error):
            raise missing_table(OutboxMessage, database) from error
        raise
    if publishers[using].is_captured:  # a test sees the message as sent; the row is written, too
        publishers[using].deliver([message])
        return
    if settings.notify and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [OutboxMessage._meta.db_table])
    if settings.relay == "inline":
        transaction.on_commit(_Inline(using, database, written.pk), using=database)


class _Inline:
    """A callback for one row, which Django calls after the commit. The first callback sends all rows of its `_group`.

    The group is a weak set of the callbacks of one transaction, alias and database. Django drops a callback after
    the call, or if a rollback to a savepoint removes the callback's row. A dropped callback leaves the group.
    """

    def __init__(self, using: str, database: str, identity: int) -> None:
        self._where = using, database
        self._identity = identity
        registered = (each[1] for each in reversed(connections[database].run_on_commit))
        before = next((each for each in registered if isinstance(each, _Inline) and each._where == self._where), None)
        self._group: weakref.WeakSet[_Inline] = weakref.WeakSet() if before is None else before._group
        self._group.add(self)

    def __call__(self) -> None:
        ids = sorted(each._identity for each in self._group)
        self._group.clear()
        if ids:
            make_relay(*self._where).send(ids)


def make_relay(using: str, database: str | None = None, **options: typing.Any) -> Relay:
    """Return a relay for the outbox of the alias *using*. *database* and *options* override the settings."""
    settings = read_outbox_settings(using)
    database = database or database_of(settings)
    given = {name: getattr(settings, name) for name in ("poll", "batch", "max_attempts")}
    given.update((name, value) for name, value in options.items() if value is not None)
    return Relay(_store(database, settings), _publisher, alias=using, **given)


def _store(database: str, settings: OutboxSettings) -> DjangoStore:
    return _make_store(database, settings.keep)


@functools.cache
def _make_store(database: str, keep: float) -> DjangoStore:
    return DjangoStore(database, keep=keep * _DAY)


def _publisher(alias: str) -> Publisher:
    return publishers[alias]
