"""Handlers that run only once for each message.

An inbox inserts a row that names the message, in the same transaction in which the handler runs. If the row exists
already, the inbox does not call the handler.
"""

from __future__ import annotations

import hashlib
import typing

from .handlers import Function, ReceivedMessage, Reject

__all__ = [
    "SQLITE_TIMEOUT",
    "InboxUnavailable",
    "OnceInbox",
    "bounded",
    "check_identity",
    "sqlite_lacks",
    "sqlite_problem",
]

#: How many seconds a connection of SQLite must be ready to wait for a writer, if several messages are handled at once.
SQLITE_TIMEOUT: typing.Final = 20.0

_MOST: typing.Final = 255  # characters of a column


class InboxUnavailable(Exception):
    """The database has a fault: the inbox cannot be used, or a task's result cannot be stored.

    If the inbox cannot be used, the handler is not called. If a task's result cannot be stored, the task may have run.
    """


class OnceInbox(typing.Protocol):
    """Runs the handlers that have ``once=True``. `stomp_web.sqlalchemy` and `stomp_web.django` each have an inbox."""

    #: How many arguments the inbox passes to a handler.
    arguments: int

    def check(self) -> None:
        """Raise `ConfigurationError` if the table is missing. If the database is not available, only log a warning."""

    def run(self, handler: str, identity: str, function: Function, message: ReceivedMessage) -> object:
        """Call *function* in a transaction that also inserts a row for *handler* and *identity*.

        *handler* names the handler, and *identity* is the message's id. If the row exists already, return ``None``
        without a call of *function*. If *function* raises, roll back the transaction and raise the exception again.
        """


def check_identity(identity: str) -> str:
    """Return *identity*, a message's id. Raises `Reject` if the id is empty, because an inbox needs an id."""
    if not identity:
        raise Reject(
            "a handler with once=True needs an id that is the same at each delivery: the sender sets the header "
            "x-message-id, as a Publisher does"
        )
    return identity


def bounded(name: str) -> str:
    """Return *name*, or the hash of *name*, for a column of an inbox.

    The hash replaces a name of more than 255 characters, and a name that a database could confuse with another name.
    For example, MySQL ignores case and trailing blanks.
    """
    safe = len(name) <= _MOST and name.isascii() and name == name.lower().strip()
    return name if safe else hashlib.sha256(name.encode(errors="replace")).hexdigest()


def sqlite_problem(database: str, settings: str, lacking: str) -> str:
    """Return the warning for a worker that handles several messages at a time with the SQLite database *database*.

    `sqlite_lacks` describes the arguments.
    """
    return (
        f'{sqlite_lacks(database, settings, lacking)}: with several messages at a time, expect "database is locked". A '
        "message is then tried again, and becomes a dead letter only if its handler itself gets the error too often. "
        "Set these options, or handle one message at a time (--concurrency 1), or use another database"
    )


def sqlite_lacks(database: str, settings: str, lacking: str) -> str:
    """Return the start of a warning about a SQLite database that lacks options.

    *database* names the database. *settings* names the setting with the options. *lacking* names the missing options.
    """
    return f"{database} is SQLite, and its {settings} lack {lacking}"
