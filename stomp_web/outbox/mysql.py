"""SQL of MariaDB and MySQL for the rows that a relay has locked."""

from __future__ import annotations

__all__ = ["delete_one_by_one"]


def delete_one_by_one(table: str, ids: str) -> str:
    """Return the statement that deletes rows of *table*, a quoted name; *ids* stands for a JSON array of their ids.

    Each row is found by its primary key. For ``id IN (...)``, MariaDB 10.11 reads the whole table if the ids are a
    quarter of it: it would wait for the rows of other relays, until these have sent them, or until a deadlock.
    """
    return (
        f"DELETE gone FROM JSON_TABLE({ids}, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted "
        f"STRAIGHT_JOIN {table} AS gone FORCE INDEX (PRIMARY) ON gone.id = wanted.id"
    )
