"""The system checks of the outbox. They read settings only.

* **stomp_web.E003** - the settings of an outbox cannot be used.
* **stomp_web.W005** - an outbox is the default, and ``ATOMIC_REQUESTS`` is off for its database. So ``send`` is refused
  outside of ``transaction.atomic``.
"""

from __future__ import annotations

from django.core import checks
from django.db import connections

from ...errors import ConfigurationError
from ..publishers import publishers, section_of
from .settings import database_of, read_outbox_settings

__all__ = ["check_outbox"]


def check_outbox(**_: object) -> list[checks.CheckMessage]:
    """Report problems of the outboxes in ``settings.STOMP``."""
    found: list[checks.CheckMessage] = []
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
        if settings.default and not connections[database].settings_dict.get("ATOMIC_REQUESTS"):
            found.append(
                checks.Warning(
                    f"settings.STOMP[{alias!r}]['OUTBOX'] is the default, and ATOMIC_REQUESTS is off for {database!r}.",
                    hint="A send outside of transaction.atomic() is refused: there is nothing to commit it with.",
                    id="stomp_web.W005",
                )
            )
    return found
