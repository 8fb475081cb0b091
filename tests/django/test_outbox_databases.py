"""The tests of the outbox and of the results of tasks once more, on each server of a database.

They run in a process of their own, because Django has one `default` in a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.django.mariadb import MariaDB
from tests.django.postgres import Postgres
from tests.wsgi.helpers import ROOT, environment_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases.server import DatabaseServer


@pytest.fixture(params=[Postgres, MariaDB], ids=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    yield from request.param.provided(request)


@pytest.mark.timeout(900)  # all files run within it; a test that hangs there ends at its own limit
def test_the_outbox_does_there_what_it_does_on_sqlite(server: DatabaseServer):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-brokers"),
            *("tests/django/test_outbox.py", "tests/django/several_connections.py"),
            *("tests/django/test_tasks_results.py", "tests/django/several_task_connections.py"),
            *("-k", "not admin and not without_the_app"),  # these have a database of their own, or none
        ],
        cwd=ROOT,
        env=environment_with(STOMP_TEST_DATABASE=json.dumps(server.database)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=720,
    )
    assert done.returncode == 0, done.stdout
