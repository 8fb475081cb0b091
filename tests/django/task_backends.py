"""What the tests of tasks share. Import it only with Django 6.0 or newer."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from django.tasks.signals import task_enqueued, task_finished, task_started
from django.test import override_settings

from stomp_web.django import publisher
from stomp_web.django.handlers import handlers_by_alias, handlers_of
from stomp_web.django.tasks.running import TaskHandler
from stomp_web.worker import Handlers, ReceivedMessage
from tests.django.task_shop import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.tasks import TaskResult

    from stomp_web.publisher import OutboxMessage


def using(*queues: str, stomp: dict[str, Any] | None = None, **options: Any) -> override_settings:
    """Use one backend with these queues and options, and *stomp* as the entry of STOMP."""
    settings: dict[str, Any] = {"TASKS": {"default": backend(*queues, **options)}}
    if stomp is not None:
        settings["STOMP"] = {"default": stomp}
    return override_settings(**settings)


def received(message: OutboxMessage, *, redelivered: bool = False, failures: int = 0) -> ReceivedMessage:
    """*message*, which was recorded, as a worker gets it."""
    return of_payload(json.loads(message.body), message.id, redelivered=redelivered, failures=failures)


def of_payload(payload: Any, identity: str, *, redelivered: bool = False, failures: int = 0) -> ReceivedMessage:
    return ReceivedMessage(payload, b"", {}, "/queue/tasks.default", identity, redelivered, failures)


def execute(message: OutboxMessage | None = None, **how: Any) -> None:
    """Run the task in *message*, by default the last one that was sent to ``memory://``."""
    TaskHandler("default")(received(publisher.outbox[-1] if message is None else message, **how))


def tasks_alone() -> Handlers:
    """The handlers of tasks, without those of the shop."""
    before = handlers_by_alias.pop("default", None)
    try:
        return handlers_of("default")
    finally:
        if before is not None:
            handlers_by_alias["default"] = before


def finished(seen: list[tuple[str, str, type, TaskResult]]) -> list[TaskResult]:
    """The results of which `signals` has seen the end. (A fast worker may end a task before `enqueue` has returned.)"""
    return [entry[3] for entry in seen if entry[0] == "finished"]


@contextlib.contextmanager
def signals() -> Iterator[list[tuple[str, str, type, TaskResult]]]:
    """The signals of tasks: name, status of the result at that moment, sender, and result."""
    seen: list[tuple[str, str, type, TaskResult]] = []
    kinds = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {}
    for name, signal in kinds.items():

        def note(sender: type, task_result: TaskResult, _name: str = name, **_: Any) -> None:
            seen.append((_name, str(task_result.status), sender, task_result))

        receivers[name] = note
        signal.connect(note)
    try:
        yield seen
    finally:
        for name, signal in kinds.items():
            signal.disconnect(receivers[name])
