"""A database server of one's own, in a temporary directory and on a port of its own.

Subclasses say how a server is made, started and asked. Anyone on this machine may do everything with it: it holds
nothing but the tests' rows.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pytest

from tests.brokers.ports import free_ports
from tests.brokers.running import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

START_LIMIT = 150.0


class DatabaseServer(ABC):
    """The server. `start` returns when it answers, and `close` leaves nothing of it."""

    host = "127.0.0.1"
    name: ClassVar[str]
    """As people write it."""

    install: ClassVar[str]
    """The commands that bring it and its driver to a machine."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"stomp-web-{self.name.lower()}-"))
        self.data = self.directory / "data"
        self._log = self.directory / "output.log"
        self._process: Process | None = None
        (self.port,) = free_ports(1)

    # What a subclass says about its server.

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What this machine lacks to run it, or None."""

    @abstractmethod
    def prepare(self) -> None:
        """Make its data, once, before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program with its arguments. It stays in the foreground."""

    @property
    @abstractmethod
    def database(self) -> dict[str, Any]:
        """The entry for Django's DATABASES."""

    @abstractmethod
    def problem(self) -> str | None:
        """Why it does not answer."""

    @abstractmethod
    def execute(self, statement: str) -> None:
        """Execute one statement, in a transaction of its own."""

    @abstractmethod
    def address(self, name: str) -> str:
        """The address of the database *name* for SQLAlchemy."""

    def create_database(self) -> str:
        """Create an empty database, and return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    # Its life.

    @classmethod
    def provided(cls, request: pytest.FixtureRequest) -> Iterator[Self]:
        """The body of a fixture: a running server. Where there is none, a skip, or a failure if all are required."""
        lack = cls.missing()
        if lack is not None:
            if request.config.option.require_brokers:
                pytest.fail(f"{lack}: {cls.install} (--require-brokers)", pytrace=False)
            pytest.skip(f"{lack}: {cls.install}")
        server = cls()
        try:
            server.start()
            yield server
        finally:
            server.close()

    def start(self) -> None:
        self.prepare()
        self.go_on()

    def go_on(self) -> None:
        """Start it with the data that it has."""
        self._process = Process(self.command(), directory=self.directory, environment=os.environ, log=self._log)
        deadline = time.monotonic() + START_LIMIT
        while (problem := self.problem()) is not None:
            ended = self._process.ended(within=0.05)
            assert not ended, f"{self.name} ended at its start.\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"{problem}\n{self._log.read_text()}"

    def kill(self) -> None:
        """End it at once, with all of its connections."""
        process, self._process = self._process, None
        if process is not None:
            self.kill_process(process)

    def kill_process(self, process: Process) -> None:
        """End its *process* at once, and whatever that has left behind."""
        process.kill()

    def close(self) -> None:
        """Stop it, and remove its directory."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(limit=10.0)
        shutil.rmtree(self.directory, ignore_errors=True)
