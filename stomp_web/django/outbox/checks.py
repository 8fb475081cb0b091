"""The system checks of the outbox. The checks read the settings only.

* **stomp_web.E003** - the settings of an outbox cannot be used.
* **stomp_web.E005** - the outbox of an alias uses a database, but ``DATABASE_ROUTERS`` do not allow the outbox's table
  there.
* **stomp_web.W005** - ``send`` uses an outbox by default, and ``ATOMIC_REQUESTS`` is off for the outbox's database. A
  ``send`` outside of ``transaction.atomic`` is refused.
* **stomp_web.W006** - the database of an outbox is SQLite, and a setting is missing in the ``OPTIONS`` of this database
  in ``settings.DATABASES``. Without this setting, programs that write at the same time get "database is locked".
* **stomp_web.W007** - ``stomp_web.django`` is not in INSTALLED_APPS, so its commands and checks are missing.

With ``manage.py check --deploy``:

* **stomp_web.W008** - the outbox of an alias and the outbox of the alias ``"default"`` are in different databases.
  ``manage.py stomp_relay`` without ``--using`` serves only the database of ``"default"``. If another relay serves the
  other database, silence the warning in ``SILENCED_SYSTEM_CHECKS``.
"""

from __future__ import annotations

import typing

from django.apps import apps
from django.core import checks
from django.db import connections, router

from ...errors import ConfigurationError
from ..publishers import DEFAULT_ALIAS, publishers, section_of
from ..sqlite import CHECK, sqlite_lacking
from .settings import OutboxSettings, database_of, read_outbox_settings

__all__ = ["check_outbox", "check_relays"]


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
    model = apps.get_model("stomp_web_outbox", "OutboxMessage")
    databases: set[str] = set()
    for alias, settings in _outboxes():
        if isinstance(settings, ConfigurationError):
            found.append(checks.Error(str(settings), id="stomp_web.E003"))
            continue
        database, where = database_of(settings), f"settings.STOMP[{alias!r}]['OUTBOX']"
        databases.add(database)
        if section_of(alias, "OUTBOX") and not router.allow_migrate_model(database, model):
            found.append(
                checks.Error(
                    f"{where} writes to {database!r}, where settings.DATABASE_ROUTERS allow no table of the outbox.",
                    hint="Name another database in its key 'database', or allow the app 'stomp_web_outbox' there.",
                    id="stomp_web.E005",
                )
            )
        if settings.default and not connections[database].settings_dict.get("ATOMIC_REQUESTS"):
            found.append(
                checks.Warning(
                    f"{where} is the default, and ATOMIC_REQUESTS is off for {database!r}.",
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


def check_relays(**_: object) -> list[checks.CheckMessage]:
    """Warn of outboxes that the relay of the default alias does not serve."""
    found: list[checks.CheckMessage] = []
    databases = {
        alias: database_of(settings) for alias, settings in _outboxes() if isinstance(settings, OutboxSettings)
    }
    served = databases.get(DEFAULT_ALIAS) or database_of(OutboxSettings())
    for alias, database in databases.items():
        if database != served and section_of(alias, "OUTBOX"):
            found.append(
                checks.Warning(
                    f"settings.STOMP[{alias!r}]['OUTBOX'] writes to {database!r}; manage.py stomp_relay serves "
                    f"{served!r}.",
                    hint=f"Run `manage.py stomp_relay --using {alias}` as well. If you do, silence this warning.",
                    id="stomp_web.W008",
                )
            )
    return found


def _outboxes() -> typing.Iterator[tuple[str, OutboxSettings | ConfigurationError]]:
    """Yield each alias with its outbox settings, or with the error in these settings.

    An alias is left out if its entry in ``settings.STOMP`` has an unknown key or a value that is no dict.
    `check_settings` reports these entries.
    """
    try:
        aliases = list(publishers)
    except ConfigurationError:
        return
    for alias in aliases:
        try:
            section_of(alias, "OUTBOX")
        except ConfigurationError:
            continue
        try:
            yield alias, read_outbox_settings(alias)
        except ConfigurationError as error:
            yield alias, error
