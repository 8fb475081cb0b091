"""An SQLite database with an empty outbox, for relays."""

from __future__ import annotations

import typing

from stomp_web import Publisher

if typing.TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from stomp_web.sqlalchemy import Outbox

__all__ = ["outbox_in"]


def outbox_in(folder: Path, publisher: Publisher) -> tuple[Engine, Outbox]:
    """Create the database ``shop.db`` in *folder*, and return its engine and its outbox."""
    import sqlalchemy

    from stomp_web.sqlalchemy import Outbox

    metadata = sqlalchemy.MetaData()
    outbox = Outbox(metadata, publisher)
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/shop.db")
    metadata.create_all(engine)
    return engine, outbox
