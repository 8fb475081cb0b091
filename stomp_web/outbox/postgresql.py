"""LISTEN and NOTIFY of PostgreSQL: a commit wakes the relays."""

from __future__ import annotations

import typing

__all__ = ["ConnectionListener", "can_listen"]


def can_listen(connection: typing.Any) -> bool:
    """Whether *connection*, a connection of psycopg or psycopg2, can report a NOTIFY."""
    return hasattr(connection, "add_notify_handler") or hasattr(connection, "notifies")


class ConnectionListener:
    """Listens on *channel* with a *connection* of psycopg or psycopg2 in autocommit mode. *close* closes it."""

    def __init__(self, connection: typing.Any, channel: str, close: typing.Callable[[], object]) -> None:
        self._connection = connection
        self._close = close
        if hasattr(connection, "add_notify_handler"):
            connection.add_notify_handler(_ignore)  # without a handler, psycopg collects the notifications
        try:
            self._execute(f'LISTEN "{channel}"')
        except BaseException:
            close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor of the connection."""
        return typing.cast(int, self._connection.fileno())

    def drain(self) -> None:
        """Read the notifications that have arrived, and drop them."""
        self._execute("SELECT 1")
        notifies = getattr(self._connection, "notifies", None)
        if isinstance(notifies, list):
            notifies.clear()

    def close(self) -> None:
        """Close the connection."""
        self._close()

    def _execute(self, statement: str) -> None:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()


def _ignore(_notify: object) -> None:
    pass
