"""The tables of the outbox, the inbox, and the results of tasks.

The columns of the outbox and of the inbox are the same as in the tables of `stomp_web.sqlalchemy`.
"""

from __future__ import annotations

import datetime

from django.db import models

from ...outbox import rows

__all__ = ["InboxMessage", "OutboxMessage", "TaskRecord"]

#: The values of ``django.tasks.TaskResultStatus``, which Django has since 6.0.
TASK_STATUSES = ("READY", "RUNNING", "FAILED", "SUCCESSFUL")


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


class TaskRecord(models.Model):
    """A task that was sent, and its result. See `stomp_web.django.tasks`."""

    id: models.CharField[str, str] = models.CharField(primary_key=True, max_length=64)
    #: The alias of the backend in ``settings.TASKS``.
    backend: models.TextField[str, str] = models.TextField()
    #: The path of the task, such as ``shop.tasks.send_invoice``.
    task: models.TextField[str, str] = models.TextField()
    queue: models.TextField[str, str] = models.TextField()
    priority: models.SmallIntegerField[int, int] = models.SmallIntegerField()
    run_after: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    #: `args` is a JSON array, `kwargs` a JSON object.
    args: models.TextField[str, str] = models.TextField()
    kwargs: models.TextField[str, str] = models.TextField()
    status: models.CharField[str, str] = models.CharField(
        max_length=10, choices=[(status, status) for status in TASK_STATUSES], default=TASK_STATUSES[0]
    )
    enqueued_at: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    started_at: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    last_attempted_at: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    finished_at: models.DateTimeField[datetime.datetime | None, datetime.datetime | None] = models.DateTimeField(
        null=True, blank=True
    )
    #: JSON.
    return_value: models.TextField[str, str] = models.TextField(default="null")
    #: A JSON array with an array for each error: the path of the exception's class, and the traceback.
    errors: models.TextField[str, str] = models.TextField(default="[]")
    #: A JSON array with a text for each attempt.
    worker_ids: models.TextField[str, str] = models.TextField(default="[]")

    class Meta:
        """The names of the table and its indexes."""

        db_table = "stomp_web_task"
        verbose_name = "task"
        indexes = (
            models.Index(fields=["enqueued_at"], name="stomp_web_task_enqueued_at"),
            models.Index(fields=["finished_at"], name="stomp_web_task_finished_at"),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.id}"
