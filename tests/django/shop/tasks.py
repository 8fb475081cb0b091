"""Tasks of the shop, for Django 6.0 and newer."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.tasks import TaskContext, task

from stomp_web.django import publishers
from stomp_web.django.outbox.settings import database_of, read_outbox_settings
from stomp_web.worker import Reject
from stomp_web.worker.once import InboxUnavailable
from tests.django.shop.models import Order


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
async def add_later(a: int, b: int = 0) -> int:
    return a + b


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
def fail_oddly() -> None:
    """Raise with characters that a database may refuse."""
    raise ValueError("no tea \0 \ud800 \N{GREEK SMALL LETTER ALPHA}")


@task
def leave(text: str) -> None:
    sys.exit(text)


@task
def fail_with_a_cause() -> None:
    raise ValueError(ValueError("the inner one"))


@task
def return_a_date() -> datetime:
    return datetime(2026, 1, 1)


@task
def return_nan() -> list[float]:
    return [float("nan")]


@task
def return_pair() -> tuple[int, dict[str, bytes]]:
    return 1, {"key": b"text"}


@task(takes_context=True)
def describe(context: TaskContext, number: int) -> dict[str, object]:
    result = context.task_result
    return {"id": result.id, "attempt": context.attempt, "status": result.status, "number": number}


@task
def announce(text: str) -> None:
    publishers["default"].send("/queue/announced", {"text": text, "pid": os.getpid()})


@task(takes_context=True)
def fail_until(context: TaskContext, attempt: int) -> int:
    """Fail in all attempts before *attempt*."""
    if context.attempt < attempt:
        raise LookupError(f"attempt {context.attempt}")
    return context.attempt


@task(takes_context=True)
def fail_from(context: TaskContext, attempt: int) -> int:
    """Fail in *attempt* and in all later ones."""
    if context.attempt >= attempt:
        raise LookupError(f"attempt {context.attempt}")
    return context.attempt


@task
def fail_at_length(length: int) -> None:
    raise ValueError("x" * length)


@task
def reject(text: str) -> None:
    raise Reject(text)


@task
def miss_an_inbox() -> None:
    raise InboxUnavailable("not mine")


@task
def repeat(text: str, times: int) -> str:
    return text * times


@task
def leave_autocommit_off() -> int:
    transaction.set_autocommit(False, using=database_of(read_outbox_settings("default")))
    return 5


@task
def store_order(item: str, pause: float = 0) -> int:
    """Store an order in a transaction, and sleep before its commit."""
    with transaction.atomic():
        order = Order.objects.create(item=item)
        time.sleep(pause)
    return order.pk


@task
async def store_order_later(item: str) -> int:
    return (await Order.objects.acreate(item=item)).pk


@task(takes_context=True)
def wait_for(context: TaskContext, path: str) -> int:
    """Tell that it has begun, wait until the file *path* exists, and return the number of the attempt."""
    publishers["default"].send("/queue/begun", {"attempt": context.attempt, "pid": os.getpid()})
    while not Path(path).exists():
        time.sleep(0.02)
    return context.attempt


@task
def die() -> None:
    """End the process in which the task runs."""
    os._exit(1)


@task
def fork() -> int:
    """Return in a forked process, too."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return 1


def plain(text: str) -> str:
    """A function that is no task."""
    raise AssertionError(text)


misnamed = task(plain)
another_name = add
