"""Tells whether a statement failed because a table is missing."""

from __future__ import annotations

__all__ = ["is_missing_table"]

_STATES = ("42P01", "42S02")  # of PostgreSQL, and of MariaDB and MySQL
_NO_SUCH_TABLE = 1146  # the number of the error in MariaDB and MySQL


def is_missing_table(error: BaseException) -> bool:
    """Return whether a Django or SQLAlchemy *error*, or its cause, is a driver's error about a missing table."""
    driver = error.__cause__ or error
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    first = driver.args[0] if driver.args else None
    return state in _STATES or first == _NO_SUCH_TABLE or str(first).startswith("no such table: ")
