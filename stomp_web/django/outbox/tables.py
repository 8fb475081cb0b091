"""Checks whether the tables of the outbox and the inbox exist in a database."""

from __future__ import annotations

import typing

from django.db import connections

from ...errors import ConfigurationError

if typing.TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["check_table", "missing_table"]


def check_table(model: type[Model], database: str) -> None:
    """Raise `ConfigurationError` if the table of *model* is missing in the database with the alias *database*."""
    connection = connections[database]
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
    if model._meta.db_table not in names:
        raise missing_table(model, database)


def missing_table(model: type[Model], database: str) -> ConfigurationError:
    """Return the error for the missing table of *model*."""
    return ConfigurationError(
        f"there is no {model._meta.db_table} in the database {database!r}: run "
        f"`manage.py migrate stomp_web_outbox --database {database}`"
    )
