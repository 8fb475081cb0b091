"""The inbox for Django. A handler with ``once=True`` runs in the transaction that inserts a row for its message."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing

from django.db import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    router,
    transaction,
)
from django.utils import timezone

from ..._internal.log import get_logger
from ...worker.once import InboxUnavailable, bounded
from .models import InboxMessage
from .settings import OutboxSettings, read_outbox_settings
from .tables import check_table

if typing.TYPE_CHECKING:
    from ...worker import ReceivedMessage

__all__ = ["DjangoInbox"]

_log = get_logger("inbox")

_PURGED_EVERY: typing.Final = 3600.0  # seconds
# A missing table is an OperationalError on SQLite, and a ProgrammingError elsewhere.
_FAULTS: typing.Final = (OperationalError, ProgrammingError, InterfaceError, InternalError)


class DjangoInbox:
    """The inbox for the worker of ``settings.STOMP[using]``. An inbox can be pickled. See `worker.once.OnceInbox`."""

    arguments = 1

    def __init__(self, using: str) -> None:
        self._using = using
        self._purge_at = 0.0

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return DjangoInbox, (self._using,)

    def check(self) -> None:
        """See `stomp_web.worker.once.OnceInbox`."""
        database = _database_of(read_outbox_settings(self._using))
        try:
            check_table(InboxMessage, database)
        except _FAULTS as error:
            _log.warning("the inbox in the database %r cannot be reached, and messages wait: %s", database, error)

    def run(
        self, handler: str, identity: str, function: typing.Callable[..., object], message: ReceivedMessage
    ) -> object:
        """Call *function* with *message* in ``transaction.atomic``, unless *handler* has handled *message* before."""
        settings = read_outbox_settings(self._using)
        database = _database_of(settings)
        with contextlib.ExitStack() as stack:
            try:
                if time.monotonic() >= self._purge_at:
                    self._purge_at = time.monotonic() + _PURGED_EVERY
                    self.purge(database, settings.inbox_keep)
                stack.enter_context(transaction.atomic(using=database))
                is_new = _insert(database, bounded(handler), bounded(identity))
            except _FAULTS as error:
                raise InboxUnavailable(f"the inbox in the database {database!r} cannot be used: {error}") from error
            if is_new:
                return function(message)
        _log.info("message %s was handled before, and is not handled again by %s", identity, handler)
        return None

    @staticmethod
    def purge(database: str, days: float) -> int:
        """Delete the rows that are older than *days* days. Return how many rows were deleted."""
        before = timezone.now() - datetime.timedelta(days=days)
        return InboxMessage.objects.using(database).filter(created_at__lt=before).delete()[0]


def _database_of(settings: OutboxSettings) -> str:
    return settings.database or router.db_for_write(InboxMessage)


def _insert(database: str, handler: str, identity: str) -> bool:
    """Insert a row for *handler* and *identity*. Return false if the row was there already."""
    rows = InboxMessage.objects.using(database)
    try:
        with transaction.atomic(using=database):
            rows.create(handler=handler, message_id=identity, created_at=timezone.now())
    except IntegrityError:
        if not rows.filter(handler=handler, message_id=identity).exists():
            raise
        return False
    return True
