"""The system checks of the outbox. They read settings only.

* **stomp_web.E003** - the settings of an outbox cannot be used.
* **stomp_web.W005** - an outbox is the default, and ``ATOMIC_REQUESTS`` is off for its database. So ``send`` is refused
  outside of ``transaction.atomic``.
* **stomp_web.W006** - the database of an outbox is SQLite, and its ``OPTIONS`` lack a setting without which programs
  that write at the same time get "database is locked".
* **stomp_web.W007** - ``stomp_web.django`` is not in INSTALLED_APPS, so its commands and checks are missing.
"""

from __future__ import annotations

from django.apps import apps
from django.core import checks
from django.db import connections

from ...errors import ConfigurationError
from ..publishers import publishers, section_of
from ..sqlite import CHECK, sqlite_lacking
from .settings import database_of, read_outbox_settings

__all__ = ["check_outbox"]


def check_outbox(**_: object) -> list[checks.CheckMessage]:
    """Report problems of the outboxes in ``settings.STOMP``."""
    found: list[checks.CheckMessage] = []
    if not apps.is_installed("stomp_web.django"):
        found.append(
            checks.Warning(
                "'stomp_web.django.outbox' is in INSTALLED_APPS, and 'stomp_web.django' is not.",
                hint="Add it: stomp_worker, stomp_send, stomp_ping and the checks of settings.STOMP are missing.",
                id="stomp_web.W007",
            )
        )
    databases: set[str] = set()
    try:
        aliases = list(publishers)
    except ConfigurationError:  # reported by the check of the settings
        return found
    for alias in aliases:
        try:
            section_of(alias, "OUTBOX")
        except ConfigurationError:  # reported by the check of the settings
            continue
        try:
            settings = read_outbox_settings(alias)
        except ConfigurationError as error:
            found.append(checks.Error(str(error), id="stomp_web.E003"))
            continue
        database = database_of(settings)
        databases.add(database)
        if settings.default and not connections[database].settings_dict.get("ATOMIC_REQUESTS"):
            found.append(
                checks.Warning(
                    f"settings.STOMP[{alias!r}]['OUTBOX'] is the default, and ATOMIC_REQUESTS is off for {database!r}.",
                    hint="A send outside of transaction.atomic() is refused: there is nothing to commit it with.",
                    id="stomp_web.W005",
                )
            )
    for database in sorted(databases):
        if lacking := sqlite_lacking(connections[database]):
            from ...worker.once import sqlite_lacks  # a site that only sends does not need the worker

            problem = sqlite_lacks(f"settings.DATABASES[{database!r}]", "OPTIONS", lacking)
            text = f'{problem}: expect "database is locked" if several programs write to it.'
            found.append(checks.Warning(text, "Set them, or use another database.", id=CHECK))
    return found
