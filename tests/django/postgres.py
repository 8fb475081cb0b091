"""A PostgreSQL server of one's own. See `tests.databases.server`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.brokers.installed import matching, newest
from tests.databases.server import START_LIMIT, DatabaseServer

if TYPE_CHECKING:
    import psycopg

    from tests.brokers.running import Process

#: The name under which the tests themselves connect; a backend of theirs may still be ending.
TESTS = "tests"

# The server refuses to run as root. Debian's package brings this user, whom nothing else needs to know.
_USER = "postgres"


class Postgres(DatabaseServer):
    """The server, with one database."""

    name = "PostgreSQL"
    install = 'apt-get install --no-install-recommends postgresql; pip install "psycopg[binary]"'

    @classmethod
    def missing(cls) -> str | None:
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

    @property
    def database(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": _USER,
            "HOST": self.host,
            "PORT": self.port,
        }

    def address(self, name: str) -> str:
        return f"postgresql+psycopg://{_USER}@{self.host}:{self.port}/{name}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection in which each statement is a transaction."""
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=_USER,
            dbname=database,
            autocommit=True,
            connect_timeout=60,
            application_name=TESTS,
        )

    def execute(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.directory, _USER, _USER)
        subprocess.run(
            [
                *(*self._program("initdb"), "--pgdata", str(self.data), "--username", _USER),
                *("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"),
            ],
            cwd=self.directory,
            check=True,
            capture_output=True,
            timeout=START_LIMIT,
        )

    def command(self) -> list[str]:
        return [
            *(*self._program("postgres"), "-D", str(self.data), "-p", str(self.port)),
            *("-c", f"listen_addresses={self.host}", "-c", "unix_socket_directories=", "-c", "fsync=off"),
            *("-c", "max_prepared_transactions=5"),
        ]

    def kill_process(self, process: Process) -> None:
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
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def problem(self) -> str | None:
        import psycopg

        try:
            self.connect().close()
        except psycopg.OperationalError as error:
            return str(error)
        return None

    @staticmethod
    def _program(name: str) -> list[str]:
        """One of its programs, run as its user."""
        programs = _programs()
        assert programs is not None
        as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if os.geteuid() == 0 else []
        return [*as_user, str(programs / name)]


provided = Postgres.provided


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
