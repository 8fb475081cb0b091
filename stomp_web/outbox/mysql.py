"""SQL of MariaDB and MySQL for the rows that a relay has locked."""

from __future__ import annotations

__all__ = ["delete_one_by_one"]


def delete_one_by_one(table: str, ids: str) -> str:
    """Return a statement that deletes rows of *table*, a quoted name; *ids* stands for a JSON array of the rows' ids.

    Each row is found by its primary key. For ``id IN (...)``, MariaDB 10.11 reads the whole table if the ids are a
    quarter of the table; the statement would wait until other relays have sent their rows, or until a deadlock.
    """
    return (
        f"DELETE gone FROM JSON_TABLE({ids}, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted "
        f"STRAIGHT_JOIN {table} AS gone FORCE INDEX (PRIMARY) ON gone.id = wanted.id"
    )
