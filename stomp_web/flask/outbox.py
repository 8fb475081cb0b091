"""The outbox and the inbox of an app, in the app's Flask-SQLAlchemy database. The first use imports SQLAlchemy."""

from __future__ import annotations

import sys
import typing

import flask

from .._internal.streams import try_to_print
from ..config import unknown_option
from ..errors import ConfigurationError
from ..publisher import Publisher

if typing.TYPE_CHECKING:
    from sqlalchemy import Engine, MetaData

    from ..sqlalchemy import Inbox, Outbox

__all__ = ["engine_of", "inbox_of", "make_outbox", "relay_engine", "warn_of_sqlite"]

_OPTIONS: typing.Final = ("alias", "keep", "notify", "relay", "table")


def make_outbox(app: flask.Flask, publisher: Publisher, settings: typing.Mapping[str, typing.Any]) -> Outbox:
    """Return the app's outbox. Raises `ConfigurationError` if *settings* are wrong or SQLAlchemy is not installed."""
    from ..outbox.command import need_sqlalchemy

    need_sqlalchemy()
    from ..sqlalchemy import Outbox

    for name in settings:
        if name not in _OPTIONS:
            raise unknown_option(name, known=_OPTIONS)
    return Outbox(_metadata_of(app), publisher, **settings)


def _metadata_of(app: flask.Flask) -> MetaData:
    """Return the metadata of the app's Flask-SQLAlchemy. The metadata may name a schema.

    Without Flask-SQLAlchemy, return empty metadata.
    """
    from sqlalchemy import MetaData

    metadata = getattr(app.extensions.get("sqlalchemy"), "metadata", None)
    return MetaData() if metadata is None else metadata


def engine_of(app: flask.Flask) -> Engine | None:
    """Return the default engine of *app*.

    Returns ``None`` if *app* has no Flask-SQLAlchemy, or if *app* has only the engines of ``SQLALCHEMY_BINDS``.
    """
    with app.app_context():
        engines = getattr(app.extensions.get("sqlalchemy"), "engines", {})
    return typing.cast("Engine | None", engines.get(None))


def relay_engine(app: flask.Flask, database: str | None) -> Engine:
    """Return an engine for the address *database*. If *database* is ``None``, return the default engine of *app*.

    If *app* has no default engine, return an engine for the address in its setting ``SQLALCHEMY_DATABASE_URI``. Raises
    `ConfigurationError` if this setting is missing, too.
    """
    from ..sqlalchemy.store import make_engine

    engine = engine_of(app)
    if database is None and engine is not None:
        return engine
    url = database or app.config.get("SQLALCHEMY_DATABASE_URI")
    if not url:
        raise ConfigurationError("the app has no database of SQLAlchemy; give --database URL", "database")
    return make_engine(url, "--database" if database else "SQLALCHEMY_DATABASE_URI")


def inbox_of(load_app: typing.Callable[[], flask.Flask]) -> Inbox:
    """Return an inbox in the database of the app that *load_app* returns.

    If the app has made an inbox, the new inbox has the same options. The new inbox uses the app's session, so that one
    transaction writes the handler's rows and the inbox's row. If handlers run in processes, the worker pickles
    `inbox_of` by name, and each process calls `inbox_of` to make its own inbox.
    """
    from ..sqlalchemy.inbox import INBOX_OPTIONS, Inbox

    app = load_app()
    metadata = _metadata_of(app)
    return Inbox(metadata, app.extensions["sqlalchemy"].session, **metadata.info.get(INBOX_OPTIONS, {}))


def warn_of_sqlite(app: flask.Flask) -> None:
    """Print a warning if the timeout of the app's SQLite is too short for several ``once`` handlers at a time."""
    from ..sqlalchemy.inbox import sqlite_timeout
    from ..worker.once import SQLITE_TIMEOUT, sqlite_problem

    engine = engine_of(app)
    seconds = None if engine is None else sqlite_timeout(engine)
    if seconds is not None and seconds < SQLITE_TIMEOUT:
        lacking = f"'connect_args': {{'timeout': {SQLITE_TIMEOUT:g}}}"
        problem = sqlite_problem("the database of Flask-SQLAlchemy", "SQLALCHEMY_ENGINE_OPTIONS", lacking)
        try_to_print(sys.stderr, f"Warning: {problem}.")
