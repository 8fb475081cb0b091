"""A PostgreSQL server of one's own, in a temporary directory and on a port of its own, with one database."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers.installed import matching, newest
from tests.brokers.ports import free_ports
from tests.brokers.running import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

INSTALL = 'apt-get install --no-install-recommends postgresql; pip install "psycopg[binary]"'
#: The name under which the tests themselves connect; a backend of theirs may still be ending.
TESTS = "tests"
START_LIMIT = 60.0

# The server refuses to run as root. Debian's package brings this user, whom nothing else needs to know.
_USER = "postgres"


def missing() -> str | None:
    """What this machine lacks to run it, or None."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if _programs() is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return "setpriv is not installed, and PostgreSQL does not run as root"
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return f"there is no user {_USER!r}, and PostgreSQL does not run as root"
    return None


def provided(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The body of a fixture: a running server. Where there is none, a skip, or a failure if everything is required."""
    lack = missing()
    if lack is not None:
        if request.config.option.require_brokers:
            pytest.fail(f"{lack}: {INSTALL} (--require-brokers)", pytrace=False)
        pytest.skip(f"{lack}: {INSTALL}")
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


class Postgres:
    """The server. `start` returns when it answers, and `close` leaves nothing of it."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="stomp-web-postgres-"))
        self._log = self.directory / "output.log"
        self._process: Process | None = None
        self._command: list[str] = []
        (self.port,) = free_ports(1)

    @property
    def database(self) -> dict[str, Any]:
        """The entry for Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": _USER,
            "HOST": self.host,
            "PORT": self.port,
        }

    def connect(self) -> psycopg.Connection[Any]:
        """A connection in which each statement is a transaction."""
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=_USER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=60,
            application_name=TESTS,
        )

    def start(self) -> None:
        programs, as_user, data = _programs(), [], self.directory / "data"
        assert programs is not None
        if os.geteuid() == 0:
            as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
            shutil.chown(self.directory, _USER, _USER)
        # Whoever reaches the port may do everything: it is this machine's, and holds nothing but the tests' rows.
        subprocess.run(
            [
                *(*as_user, str(programs / "initdb"), "--pgdata", str(data), "--username", _USER),
                *("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"),
            ],
            cwd=self.directory,
            check=True,
            capture_output=True,
            timeout=START_LIMIT,
        )
        self._command = [
            *(*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(self.port)),
            *("-c", f"listen_addresses={self.host}", "-c", "unix_socket_directories=", "-c", "fsync=off"),
            *("-c", "max_prepared_transactions=5"),
        ]
        self.go_on()

    def go_on(self) -> None:
        """Start it with the data that it has."""
        self._process = Process(self._command, directory=self.directory, environment=os.environ, log=self._log)
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """End it at once, with all of its connections."""
        process, self._process = self._process, None
        if process is not None:
            # Each of its processes has a session of its own, and would serve its client to the end of a statement. The
            # server is stopped first, so that it starts no other meanwhile; while one is left, it cannot start again.
            process.pause()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            deadline = time.monotonic() + START_LIMIT
            for child in children:
                while _runs(child):
                    assert time.monotonic() < deadline, f"process {child} of PostgreSQL does not end"
                    time.sleep(0.01)
            (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Stop it, and remove its directory."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(limit=10.0)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + START_LIMIT
        while (problem := self._problem()) is not None:
            ended = process.ended(within=0.05)
            assert not ended, f"PostgreSQL ended at its start.\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"{problem}\n{self._log.read_text()}"

    def _problem(self) -> str | None:
        """Why it does not answer."""
        import psycopg

        try:
            self.connect().close()
        except psycopg.OperationalError as error:
            return str(error)
        return None


def _runs(pid: str) -> bool:
    """Whether this process still has its memory: a zombie has none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def _programs() -> Path | None:
    """The folder of the newest server's programs. Debian has it outside of PATH."""
    found = shutil.which("initdb")
    if found is not None and Path(found).with_name("postgres").exists():
        return Path(found).parent
    paths = sorted(matching("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.parts[4]))
    initdb = paths[-1] if paths else newest(matching("/usr/pgsql-*/bin/initdb"))
    return initdb.parent if initdb is not None else None
