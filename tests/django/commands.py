"""`manage.py stomp_worker` as a program of its own, and a database for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cli.running import DEADLINE, program
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from subprocess import Popen

    from stomp_web.broker import Broker


def with_tables(database: dict[str, Any]) -> dict[str, Any]:
    done = run_python(
        *("-m", "tests.django.manage", "migrate", "--run-syncdb", "--verbosity", "0"),
        TEST_DATABASE=json.dumps(database),
    )
    assert done.returncode == 0, done.stdout
    return database


def worker(
    broker: Broker, database: dict[str, Any], *arguments: str, limit: float = 3 * DEADLINE
) -> AbstractContextManager[Popen]:
    return program(
        *("stomp_worker", *arguments),
        module="tests.django.manage",
        limit=limit,
        STOMP_TEST_URL=broker.url,
        TEST_DATABASE=json.dumps(database),
    )
