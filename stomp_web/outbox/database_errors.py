"""Functions that recognize a database error caused by another transaction's lock, and that convert errors to text."""

from __future__ import annotations

import typing

from .._internal.printable import harmless

__all__ = ["is_conflict", "words_of"]

_LONGEST: typing.Final = 2000  # characters

_OF_MYSQL: typing.Final = (1205, 1213)  # "Lock wait timeout exceeded", "Deadlock found"
_OF_POSTGRESQL: typing.Final = ("40P01", "55P03")  # deadlock_detected, lock_not_available (after lock_timeout)
_OF_SQLITE: typing.Final = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED


def is_conflict(error: BaseException) -> bool:
    """Return whether *error* means that a statement failed because of a lock of another transaction.

    *error* is an exception of SQLAlchemy, Django or a driver. If the result is true, the failed statement has changed
    nothing. After a rollback, a new try may succeed at once.
    """
    error = getattr(error, "orig", None) or error.__cause__ or error
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)  # psycopg, psycopg2
    return (
        error.args[:1] in [(code,) for code in _OF_MYSQL]
        or state in _OF_POSTGRESQL
        or getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_SQLITE
    )


def words_of(error: Exception) -> str:
    """Return *error* as text. For an error of SQLAlchemy, the text is the driver's error without the statement."""
    error = getattr(error, "orig", None) or error
    text = harmless(f"{type(error).__name__}: {error}".replace("\0", "\\0").strip())
    return text[:_LONGEST]
