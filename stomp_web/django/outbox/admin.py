"""The outbox, the inbox and tasks in Django's admin: read-only rows, and the actions of an operator."""

from __future__ import annotations

import datetime
import json
import typing

from django.contrib import admin, messages
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from ...outbox import FAILED, PENDING, WAITING
from .models import InboxMessage, OutboxMessage, TaskRecord
from .store import DjangoStore

__all__ = ["InboxMessageAdmin", "OutboxMessageAdmin", "TaskRecordAdmin"]

_MOST_SHOWN: typing.Final = 10_000  # characters of a body


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are read-only, because only the library writes them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: typing.Any = None) -> bool:
        """Return ``False``, because rows must not be deleted with Django's own action.

        The action `discard` deletes outbox rows. After `discard`, later rows with the same key can be sent.
        """
        return False

    def has_change_permission(self, request: HttpRequest, obj: typing.Any = None) -> bool:
        """Return ``False`` if *obj* is a row. If *obj* is ``None``, return the user's change permission.

        The actions `retry` and `discard` need this permission. No row can be edited.
        """
        return obj is None and super().has_change_permission(request)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(_ReadOnly):
    """The messages that are not sent yet, and the sent messages that are kept."""

    list_display = ("id", "destination", "key", "state", "age", "attempts", "error")
    list_filter = ("state", "alias", "destination")
    search_fields = ("message_id", "destination", "key")
    ordering = ("id",)
    show_full_result_count = False
    actions = ("retry", "discard")
    fields = (
        *("message_id", "destination", "key", "alias", "state", "attempts", "next_attempt_at", "last_error"),
        *("created_at", "ttl", "content_type", "headers", "shown_body"),
    )
    readonly_fields = fields

    @admin.display(ordering="created_at")
    def age(self, row: OutboxMessage) -> str:
        """Return how long ago the row was written."""
        seconds = int((timezone.now() - row.created_at).total_seconds())
        return str(datetime.timedelta(seconds=max(seconds, 0)))

    @admin.display(ordering="last_error")
    def error(self, row: OutboxMessage) -> str:
        """Return the beginning of the last error."""
        return str(row.last_error)[:100]

    @admin.display(description="body")
    def shown_body(self, row: OutboxMessage) -> str:
        """Return the start of a text body, with JSON indented, or the size of any other body. Load no pickle."""
        body, kind = bytes(row.body), row.content_type or ""
        try:
            text = body.decode()
            if "json" in kind:
                text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except ValueError:
            return f"{len(body)} bytes"
        return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(body)} bytes)"

    @admin.action(description="Send again", permissions=["change"])
    def retry(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> None:
        """Let the relay send failed rows again, and send waiting rows now."""
        ids = list(rows.filter(state__in=(FAILED, WAITING)).values_list("id", flat=True))
        count = DjangoStore(router.db_for_write(OutboxMessage)).retry(ids)
        self.message_user(request, f"{count} messages will be sent again.", messages.SUCCESS)

    @admin.action(description="Discard: delete without sending", permissions=["change"])
    def discard(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> None:
        """Delete unsent rows."""
        ids = list(rows.filter(state__in=(FAILED, WAITING, PENDING)).values_list("id", flat=True))
        count = DjangoStore(router.db_for_write(OutboxMessage)).discard(ids)
        self.message_user(request, f"{count} messages were deleted, and will not be sent.", messages.WARNING)


@admin.register(InboxMessage)
class InboxMessageAdmin(_ReadOnly):
    """The messages that handlers with ``once=True`` have handled."""

    list_display = ("message_id", "handler", "created_at")
    search_fields = ("message_id", "handler")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(TaskRecord)
class TaskRecordAdmin(_ReadOnly):
    """The tasks of `stomp_web.django.tasks`, and their results."""

    list_display = ("id", "task", "queue", "status", "enqueued_at", "finished_at", "attempts")
    list_filter = ("status", "backend", "queue")
    search_fields = ("id", "task")
    ordering = ("-enqueued_at",)
    show_full_result_count = False
    fields = (
        *("id", "task", "backend", "queue", "priority", "run_after", "args", "kwargs", "status", "enqueued_at"),
        *("started_at", "last_attempted_at", "finished_at", "return_value", "shown_errors", "worker_ids"),
    )
    readonly_fields = fields

    @admin.display
    def attempts(self, row: TaskRecord) -> int:
        """Return how often a worker has begun to run the task."""
        return len(json.loads(row.worker_ids))

    @admin.display(description="errors")
    def shown_errors(self, row: TaskRecord) -> str:
        """Return the traceback of each failed attempt."""
        return "\n".join(traceback for _, traceback in json.loads(row.errors))
