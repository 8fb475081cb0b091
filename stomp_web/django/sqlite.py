"""The options that let several connections use one SQLite database without the error "database is locked".

SQLite lets one connection write at a time. A transaction that begins with a write waits for up to ``timeout`` seconds.
In a transaction that begins with a read, a later write may fail at once. By default, Django's transactions may begin
with a read.
"""

from __future__ import annotations

import re
import typing

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["CHECK", "sqlite_lacking"]

#: The id of the check for these options. The worker, which warns by itself, leaves it out.
CHECK: typing.Final = "stomp_web.W006"

_WAL: typing.Final = re.compile(r"journal_mode\s*=\s*['\"]?wal\b", re.IGNORECASE)


def sqlite_lacking(connection: BaseDatabaseWrapper) -> str:
    """Return a text with the SQLite options that *connection* lacks, or ``""``. This function opens no connection."""
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return ""
    return " and ".join(_lacking(connection.settings_dict.get("OPTIONS") or {}))


def _lacking(options: typing.Mapping[str, typing.Any]) -> typing.Iterator[str]:
    from ..worker.once import SQLITE_TIMEOUT  # a site that only sends does not need the worker

    timeout = options.get("timeout", 0)
    if not isinstance(timeout, int | float) or timeout < SQLITE_TIMEOUT:  # without it, Python's sqlite3 waits for 5
        yield f"'timeout': {SQLITE_TIMEOUT:g}"
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield "'transaction_mode': 'IMMEDIATE'"
    if not _WAL.search(str(options.get("init_command"))):
        yield "'init_command': 'PRAGMA journal_mode=WAL'"
