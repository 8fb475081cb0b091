"""The tasks of the shop in programs of their own, which need Django 6.0 or newer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.cli.running import DEADLINE, program
from tests.django.commands import with_tables
from tests.wsgi.helpers import ROOT, environment_with

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from stomp_web.broker import Broker
    from tests.brokers.running import RunningBroker

BACKEND = "stomp_web.django.tasks.StompTaskBackend"
QUEUE = "/queue/tasks.default"
LIMIT = 4 * DEADLINE


def backend(*queues: str, **options: Any) -> dict[str, Any]:
    """The entry of TASKS for a backend with these queues and options."""
    return {"BACKEND": BACKEND, "QUEUES": list(queues or ["default"]), "OPTIONS": options}


class Shop:
    """The shop's tasks in programs of their own, with one database: a file of SQLite, or *database*.

    *worker* are options of the workers, and *options* those of the backend.
    """

    def __init__(
        self,
        broker: Broker | RunningBroker,
        path: Path,
        database: dict[str, Any] | None = None,
        worker: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.broker = broker
        self.database = with_tables(
            database
            or {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(path / "shop.sqlite3"),
                "OPTIONS": {
                    "timeout": 60,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL",
                },
            }
        )
        self.worker_options = worker or {}
        self.options = options

    def environment(self) -> dict[str, str]:
        """The variables of its programs."""
        return {
            "STOMP_TEST_URL": self.broker.url,
            "TEST_DATABASE": json.dumps(self.database),
            "TEST_TASKS": json.dumps({"default": backend(**self.options)}),
            "TEST_WORKER": json.dumps(self.worker_options),
            "DJANGO_SETTINGS_MODULE": "tests.django.task_settings",
        }

    def worker(self, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
        return program("stomp_worker", *arguments, module="tests.django.manage", limit=LIMIT, **self.environment())

    def run(self, *arguments: str, given: object = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment_with(**self.environment()),
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, *tasks: tuple[str, list[Any]]) -> list[str]:
        return json.loads(self.run("tests.django.task_client", "send", given=tasks))

    def results(self, identities: list[str]) -> list[dict[str, Any]]:
        return json.loads(self.run("tests.django.task_client", "read", given=identities))

    @property
    def items(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.database["NAME"])) as connection:
            return [item for (item,) in connection.execute("select item from shop_order")]
