"""The tables of the outbox and the inbox. The tables of `stomp_web.sqlalchemy` have the same columns."""

from __future__ import annotations

import datetime

from django.db import models

from ...outbox import rows

__all__ = ["InboxMessage", "OutboxMessage"]


class OutboxMessage(models.Model):
    """A message that a transaction has written for the relay. See `stomp_web.outbox.rows`."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    message_id: models.CharField[str, str] = models.CharField(max_length=rows.LONGEST_ID)
    destination: models.CharField[str, str] = models.CharField(max_length=rows.LONGEST_DESTINATION)
    #: A JSON object.
    headers: models.TextField[str, str] = models.TextField()
    content_type: models.CharField[str | None, str | None] = models.CharField(
        max_length=rows.LONGEST_CONTENT_TYPE, null=True, blank=True
    )
    body: models.BinaryField[bytes, bytes] = models.BinaryField()
    key: models.CharField[str | None, str | None] = models.CharField(max_length=rows.LONGEST_KEY, null=True, blank=True)
    #: The alias of the publisher in ``settings.STOMP``.
    alias: models.CharField[str, str] = models.CharField(max_length=rows.LONGEST_ALIAS)
    #: Seconds from `created_at`.
    ttl: models.FloatField[float | None, float | None] = models.FloatField(null=True, blank=True)
    created_at: models.DateTimeField[datetime.datetime, datetime.datetime] = models.DateTimeField()
    attempts: models.IntegerField[int, int] = models.IntegerField(default=0, db_default=0)
    #: When to try again. In a row that is kept after it was sent: when it was sent.
    next_attempt_at: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    last_error: models.TextField[str, str] = models.TextField(blank=True)
    state: models.CharField[str, str] = models.CharField(
        max_length=rows.LONGEST_STATE, choices=[(state, state) for state in rows.STATES], default=rows.PENDING
    )

    class Meta:
        """The names of the table and its indexes. The SQLAlchemy table has the same names."""

        db_table = "stomp_web_outbox"
        verbose_name = "message to send"
        verbose_name_plural = "messages to send"
        indexes = (
            models.Index(fields=["state", "next_attempt_at", "id"], name="stomp_web_outbox_state"),
            models.Index(fields=["key", "state", "id"], name="stomp_web_outbox_key"),
        )

    def __str__(self) -> str:
        return f"{self.message_id} to {self.destination}"


class InboxMessage(models.Model):
    """A message that a handler with ``once=True`` has handled."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    handler: models.CharField[str, str] = models.CharField(max_length=255)
    message_id: models.CharField[str, str] = models.CharField(max_length=rows.LONGEST_ID)
    created_at: models.DateTimeField[datetime.datetime, datetime.datetime] = models.DateTimeField()

    class Meta:
        """The names of the table and its indexes."""

        db_table = "stomp_web_inbox"
        verbose_name = "handled message"
        constraints = (models.UniqueConstraint(fields=["handler", "message_id"], name="stomp_web_inbox_message"),)
        indexes = (models.Index(fields=["created_at"], name="stomp_web_inbox_created_at"),)

    def __str__(self) -> str:
        return f"{self.message_id} by {self.handler}"
