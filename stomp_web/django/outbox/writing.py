"""Writing a message into the outbox, in the caller's transaction."""

from __future__ import annotations

import functools
import typing

from django.db import connections, transaction
from django.utils import timezone

from ...client.message import Message
from ...errors import ConfigurationError
from ...outbox import Relay, new_row
from ...publisher import Publisher
from ..publishers import publishers
from .models import OutboxMessage
from .settings import OutboxSettings, database_of, read_outbox_settings
from .store import DjangoStore

__all__ = ["make_relay", "write"]

_DAY: typing.Final = 86_400.0


def write(message: Message, using: str, key: str | None, database: str | None) -> None:
    """Write *message*, which is ready, as a row of the transaction that is open in *database*.

    Raises `ConfigurationError` if there is none, or for a bad *key*, and `InvalidFrame` for a part of the message that
    is too long for its column.
    """
    settings = read_outbox_settings(using)
    database = database or database_of(settings)
    row = new_row(message, key, using)
    connection = connections[database]
    if not connection.in_atomic_block and connection.get_autocommit():
        raise ConfigurationError(
            f"send(outbox=True) to {message.destination} was called outside of a transaction of the database "
            f"{database!r}, so that there is nothing that the message could be committed with; nothing was written. "
            "Put the call into transaction.atomic()"
        )
    values = {name: getattr(row, name) for name in row.__slots__}
    written = OutboxMessage.objects.using(database).create(**{**values, "created_at": timezone.now()})
    if settings.notify and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [OutboxMessage._meta.db_table])
    if settings.relay == "inline":
        _Inline.register(using, database, written.pk)


class _Inline:
    """Rows that one transaction has written, as functions that Django calls after the commit; the first sends all."""

    def __init__(self, using: str, database: str, ids: list[int]) -> None:
        self.using = using
        self.database = database
        self.ids = ids

    @classmethod
    def register(cls, using: str, database: str, identity: int) -> None:
        """Send the row *identity* after the commit; not after a rollback to a savepoint."""
        transaction.on_commit(cls(using, database, [identity]), using=database)

    def __call__(self) -> None:
        later = [each[1] for each in connections[self.database].run_on_commit]
        for other in later:
            if isinstance(other, _Inline) and (other.using, other.database) == (self.using, self.database):
                self.ids += other.ids
                other.ids = []
        ids, self.ids = self.ids, []
        if ids:
            make_relay(self.using, self.database).send(ids)


def make_relay(using: str, database: str | None = None, **options: typing.Any) -> Relay:
    """Return a relay for the outbox of the alias *using*; *options* win over those in the settings."""
    settings = read_outbox_settings(using)
    database = database or database_of(settings)
    given = {name: getattr(settings, name) for name in ("poll", "batch", "max_attempts")}
    given.update((name, value) for name, value in options.items() if value is not None)
    return Relay(_store(database, settings), _publisher, **given)


def _store(database: str, settings: OutboxSettings) -> DjangoStore:
    return _make_store(database, settings.keep)


@functools.cache
def _make_store(database: str, keep: float) -> DjangoStore:
    return DjangoStore(database, keep=keep * _DAY)


def _publisher(alias: str) -> Publisher:
    return publishers[alias]
