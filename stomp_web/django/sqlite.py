"""The settings that SQLite needs for several messages at a time.

SQLite lets one connection write at a time. Another one waits for `timeout` seconds, but fails at once if it has read in
the same transaction, as Django's default transactions do. So without the settings below, a worker with several threads
gets "database is locked", and good messages are dead-lettered.
"""

from __future__ import annotations

import re
import typing

from django.db import connections

__all__ = ["sqlite_problems"]

_TIMEOUT: typing.Final = 20.0  # seconds; 5 without the option (Python's sqlite3)
_WAL: typing.Final = re.compile(r"journal_mode\s*=\s*['\"]?wal\b", re.IGNORECASE)
_IMMEDIATE: typing.Final = ("IMMEDIATE", "EXCLUSIVE")


def sqlite_problems() -> list[str]:
    """Return one sentence for each alias of DATABASES that is SQLite and lacks a setting. Opens no connection."""
    problems = []
    for connection in connections.all():
        if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
            continue
        lacking = _lacking(connection.settings_dict.get("OPTIONS") or {})
        if lacking:
            problems.append(
                f"settings.DATABASES[{connection.alias!r}] is SQLite, and its OPTIONS lack {' and '.join(lacking)}: "
                'with several messages at a time, expect "database is locked" and dead letters. Set them, or handle '
                "one message at a time (--concurrency 1), or use another database"
            )
    return problems


def _lacking(options: typing.Mapping[str, typing.Any]) -> list[str]:
    lacking = []
    timeout = options.get("timeout", 0)
    if not isinstance(timeout, int | float) or timeout < _TIMEOUT:
        lacking.append(f"'timeout': {_TIMEOUT:g}")
    if str(options.get("transaction_mode")).upper() not in _IMMEDIATE:
        lacking.append("'transaction_mode': 'IMMEDIATE'")
    if not _WAL.search(str(options.get("init_command"))):
        lacking.append("'init_command': 'PRAGMA journal_mode=WAL'")
    return lacking
