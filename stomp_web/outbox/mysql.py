"""Statements for MariaDB and MySQL that delete or lock rows. Each statement finds the rows by their primary keys."""

from __future__ import annotations

__all__ = ["delete_one_by_one", "lock_those_that_wait"]


def delete_one_by_one(table: str, ids: str) -> str:
    """Return a statement that deletes rows of *table*, a quoted name. *ids* is the placeholder for a JSON array of ids.

    The statement finds each row by its id. With ``id IN (...)``, MariaDB 10.11 would read the whole table if the ids
    are a quarter of the rows. This read would wait for rows that other relays have locked, or end in a deadlock.
    """
    return f"DELETE gone FROM {_each(ids, table, 'gone')}"


def lock_those_that_wait(table: str, ids: str) -> str:
    """Return a statement that locks and selects those rows of *ids* that are ``waiting`` without a `next_attempt_at`.

    `delete_one_by_one` describes the arguments. The statement waits only for locks on rows among *ids*. A
    statement that selects rows by the column ``key`` could wait for locks on rows of other keys, because the database
    might use the index of the column ``state``.
    """
    found = _each(ids, table, "found")
    return f"SELECT found.id FROM {found} WHERE found.state = 'waiting' AND found.next_attempt_at IS NULL FOR UPDATE"  # noqa: S608 - names


def _each(ids: str, table: str, name: str) -> str:
    wanted = f"JSON_TABLE({ids}, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted"
    return f"{wanted} STRAIGHT_JOIN {table} AS {name} FORCE INDEX (PRIMARY) ON {name}.id = wanted.id"
