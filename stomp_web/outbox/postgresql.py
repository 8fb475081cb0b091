"""Features of PostgreSQL: arrays, and LISTEN and NOTIFY. With NOTIFY, a commit wakes the relays."""

from __future__ import annotations

import typing

__all__ = ["COMMIT_SOON", "ConnectionListener", "array", "can_listen"]

#: The commit of the open transaction does not wait for the disk.
COMMIT_SOON: typing.Final = "SET LOCAL synchronous_commit = off"


def array(values: typing.Iterable[int | str]) -> str:
    """Return *values* as the text of one array. The driver then converts one parameter instead of every value."""
    texts = [f'"{_in_quotes(value)}"' if isinstance(value, str) else str(value) for value in values]
    return f"{{{','.join(texts)}}}"


def _in_quotes(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def can_listen(connection: typing.Any) -> bool:
    """Return whether a *connection* of psycopg or psycopg2 can report a NOTIFY."""
    return hasattr(connection, "add_notify_handler") or hasattr(connection, "notifies")


class ConnectionListener:
    """Listens on *channel* with *connection*. *close* is a function that closes *connection*.

    *connection* is a connection of psycopg or psycopg2 in autocommit mode.
    """

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
        """Read and drop the notifications that have arrived."""
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
