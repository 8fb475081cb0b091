"""The inbox: the transaction of a handler with ``once=True`` also inserts a row that names the message."""

from __future__ import annotations

import datetime
import time
import typing

from django.db import IntegrityError, router, transaction
from django.utils import timezone

from ..._internal.log import get_logger
from ...worker.once import bounded
from .models import InboxMessage
from .settings import read_outbox_settings

if typing.TYPE_CHECKING:
    from ...worker import ReceivedMessage

__all__ = ["DjangoInbox"]

_log = get_logger("inbox")

_PURGED_EVERY: typing.Final = 3600.0  # seconds


class DjangoInbox:
    """The inbox for the worker of the alias *using*. It can be pickled. See `stomp_web.worker.once.OnceInbox`."""

    arguments = 1

    def __init__(self, using: str) -> None:
        self._using = using
        self._purge_at = 0.0

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return DjangoInbox, (self._using,)

    def run(
        self, handler: str, identity: str, function: typing.Callable[..., object], message: ReceivedMessage
    ) -> object:
        """Call *function* with *message* in ``transaction.atomic``, unless the handler has handled it before."""
        settings = read_outbox_settings(self._using)
        database = settings.database or router.db_for_write(InboxMessage)
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGED_EVERY
            self.purge(database, settings.inbox_keep)
        with transaction.atomic(using=database):
            row = {"handler": bounded(handler), "message_id": bounded(identity)}
            try:
                with transaction.atomic(using=database):
                    InboxMessage.objects.using(database).create(**row, created_at=timezone.now())
            except IntegrityError:
                if not InboxMessage.objects.using(database).filter(**row).exists():
                    raise
                _log.info("message %s was handled before, and is not handled again by %s", identity, handler)
                return None
            return function(message)

    @staticmethod
    def purge(database: str, days: float) -> int:
        """Remove the rows that are older than *days*, and return how many."""
        before = timezone.now() - datetime.timedelta(days=days)
        return InboxMessage.objects.using(database).filter(created_at__lt=before).delete()[0]
