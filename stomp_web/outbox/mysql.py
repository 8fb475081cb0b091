"""SQL for MariaDB and MySQL, to delete rows that a relay has locked."""

from __future__ import annotations

__all__ = ["delete_one_by_one"]


def delete_one_by_one(table: str, ids: str) -> str:
    """Return a statement that deletes rows of *table*, a quoted name. *ids* is the placeholder for a JSON array of ids.

    The statement finds each row by its primary key. With ``id IN (...)``, MariaDB 10.11 reads the whole table if the
    ids are a quarter of the rows. Then the statement waits for rows that other relays have locked, or deadlocks.
    """
    return (
        f"DELETE gone FROM JSON_TABLE({ids}, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted "
        f"STRAIGHT_JOIN {table} AS gone FORCE INDEX (PRIMARY) ON gone.id = wanted.id"
    )
