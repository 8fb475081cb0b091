"""The commands ``stomp-web relay`` and ``stomp-web outbox``, for an outbox of SQLAlchemy or Django."""

from __future__ import annotations

import sys
import typing

from .._internal.streams import try_to_print
from ..outbox import Relay
from ..outbox.command import need_sqlalchemy, operate, run_relay
from ..publisher import Publisher

if typing.TYPE_CHECKING:
    from ..sqlalchemy.store import SqlAlchemyStore

__all__ = ["run_outbox", "run_relay_command"]

_DAY: typing.Final = 86_400.0


def run_relay_command(
    url: str,
    *,
    database: str,
    table: str,
    alias: str,
    keep: float,
    once: bool,
    health_port: tuple[str, int] | None,
    health_file: str | None,
    **options: typing.Any,
) -> int:
    """Send the messages of the outbox *table* in *database* to the broker at *url*. Return the exit status.

    The command sends only the messages of the publisher *alias*. *keep* is how many days the row of a sent message
    stays in the table. *options* are passed to `Relay`.
    """
    with Publisher(url) as publisher:
        store = _store(database, table, alias=alias, keep=keep * _DAY)
        relay = Relay(store, lambda _alias: publisher, alias=alias, **options)
        telemetry = publisher.options.telemetry
        return run_relay(relay, once=once, telemetry=telemetry, health_port=health_port, health_file=health_file)


def run_outbox(action: str, *, ids: typing.Sequence[int], days: float, database: str, table: str) -> int:
    """Carry out *action* on the outbox, and print the result. Return the exit status.

    If *ids* is not empty, ``retry`` and ``discard`` affect only these rows. ``purge`` deletes the rows of messages that
    were sent at least *days* days ago.
    """
    try_to_print(sys.stdout, operate(_store(database, table), action, ids, days))
    return 0


def _store(database: str, table: str, **options: typing.Any) -> SqlAlchemyStore:
    need_sqlalchemy()
    import sqlalchemy

    from ..sqlalchemy.store import SqlAlchemyStore, make_engine
    from ..sqlalchemy.tables import outbox_table

    engine = make_engine(database)
    schema, _, name = table.rpartition(".")
    return SqlAlchemyStore(engine, outbox_table(sqlalchemy.MetaData(schema=schema or None), name), **options)
