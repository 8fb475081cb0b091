"""Tests of the results of tasks with several connections. test_outbox_databases.py runs them."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from django.db import IntegrityError, connection, transaction
from django.tasks import TaskResultStatus

from stomp_web.django import publisher
from stomp_web.django.outbox.models import TaskRecord
from tests.django.several_connections import closing_connections
from tests.django.shop import tasks
from tests.django.task_backends import execute, using
from tests.outbox.running import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def default_backend() -> Iterator[None]:
    with using():
        yield
    TaskRecord.objects.all().delete()


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_a_task_runs_before_the_transaction_that_has_sent_it_ends(commits):
    inserting, errors = threading.Event(), []

    def note(run: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("INSERT"):
            inserting.set()
        try:
            return run(sql, *arguments)
        except IntegrityError as error:
            errors.append(error)
            raise

    def work() -> None:
        with connection.execute_wrapper(note):
            execute(message)

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            sent = tasks.add.enqueue(1, b=2)
            (message,) = publisher.outbox
            run = thread.submit(closing_connections, work)
            assert inserting.wait(LIMIT)  # the worker has seen no row
            transaction.set_rollback(not commits)
        run.result(LIMIT)
    sent.refresh()
    assert (sent.status, sent.return_value, sent.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert len(errors) == commits
