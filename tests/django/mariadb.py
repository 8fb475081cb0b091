"""A MariaDB server of one's own. See `tests.databases.server`.

The driver is PyMySQL: mysqlclient has no wheels for Linux, and would need a compiler and MariaDB's headers. Django
knows mysqlclient only; from its version 1.2 on, PyMySQL passes for one that is new enough for Django 6.1.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Any

from tests.brokers.installed import program
from tests.databases.server import START_LIMIT, DatabaseServer

if TYPE_CHECKING:
    from pathlib import Path

    import pymysql

_USER = "root"

# What both programs have to know: small files, which a test machine writes quickly.
_FILES = ("--no-defaults", "--innodb-log-file-size=16M", "--innodb-use-native-aio=0")


class MariaDB(DatabaseServer):
    """The server, with a database for Django.

    It has a folder of its own for temporary tables: at its start, a server removes all temporary tables that it finds
    there, also those of another server.
    """

    name = "MariaDB"
    install = "apt-get install --no-install-recommends mariadb-server; pip install 'pymysql>=1.2'"

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("pymysql") is None:
            return "PyMySQL is not installed"
        if _server() is None or _installer() is None:
            return "MariaDB is not installed"
        return None

    @property
    def database(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "django",
            "USER": _USER,
            "HOST": self.host,
            "PORT": self.port,
        }

    def address(self, name: str) -> str:
        return f"mariadb+pymysql://{_USER}@{self.host}:{self.port}/{name}"

    def connect(self) -> pymysql.Connection[Any]:
        """A connection in which each statement is a transaction."""
        import pymysql

        return pymysql.connect(host=self.host, port=self.port, user=_USER, autocommit=True, connect_timeout=60)

    def execute(self, statement: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def start(self) -> None:
        super().start()
        self.execute("CREATE DATABASE django CHARACTER SET utf8mb4")

    def prepare(self) -> None:
        done = subprocess.run(
            [
                *(str(_installer()), *_FILES, f"--datadir={self.data}", f"--user={_account()}"),
                *(f"--tmpdir={self.directory}", "--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_LIMIT,
        )
        assert done.returncode == 0, done.stdout

    def command(self) -> list[str]:
        return [
            *(str(_server()), *_FILES, f"--datadir={self.data}", f"--user={_account()}", f"--port={self.port}"),
            *(f"--bind-address={self.host}", f"--socket={self.directory}/socket", "--skip-name-resolve"),
            *(f"--pid-file={self.directory}/pid", f"--tmpdir={self.directory}"),
            # What is committed outlives a kill of the server; an end of the machine it need not outlive.
            *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M", "--innodb-lock-wait-timeout=60"),
        ]

    def problem(self) -> str | None:
        import pymysql

        try:
            self.connect().close()
        except pymysql.err.OperationalError as error:
            return str(error)
        return None


provided = MariaDB.provided


def _account() -> str:
    """The account of the tests: it refuses to run as root, if it is not told to."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _server() -> Path | None:
    return program("mariadbd", "/usr/sbin/mariadbd", "/usr/libexec/mariadbd")


def _installer() -> Path | None:
    return program("mariadb-install-db")
