"""The settings of an outbox, which are in ``settings.STOMP[alias]["OUTBOX"]``."""

from __future__ import annotations

import dataclasses
import typing

from django.db import connections, router

from ...config import read_seconds, unknown_option, whole_number
from ...errors import ConfigurationError
from ...outbox.relay import DEFAULT_BATCH, DEFAULT_MAX_ATTEMPTS, DEFAULT_POLL
from ..publishers import section_of

__all__ = ["OutboxSettings", "database_of", "read_outbox_settings"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxSettings:
    """The options of an outbox, with their defaults.

    * `default` - whether `send` uses the outbox if the caller gives neither *outbox* nor *on_commit*. Default: no.
    * `database` - the alias of the database. Default: ``None``, which means that Django's routers choose the database.
    * `relay` - with ``"inline"``, the process that wrote a message sends it right after the commit, and the command
      ``stomp_relay`` sends the rest. Default: ``None``, which means that only ``stomp_relay`` sends.
    * `keep` - how many days the row of a sent message is kept. Default: 0, which means that the row is deleted at once.
    * `inbox_keep` - after how many days a row of the inbox is deleted. Default: 30.
    * `notify` - on PostgreSQL, whether a commit wakes the relays. Default: yes.
    * `poll`, `batch`, `max_attempts` - options of `stomp_web.outbox.Relay`.
    """

    default: bool = False
    database: str | None = None
    relay: str | None = None
    keep: float = 0.0
    inbox_keep: float = 30.0
    notify: bool = True
    poll: float = DEFAULT_POLL
    batch: int = DEFAULT_BATCH
    max_attempts: int = DEFAULT_MAX_ATTEMPTS


_NAMES: typing.Final = tuple(field.name for field in dataclasses.fields(OutboxSettings))


def read_outbox_settings(alias: str) -> OutboxSettings:
    """Return the settings of the outbox of *alias*. Raises `ConfigurationError` if a setting is invalid."""
    section = section_of(alias, "OUTBOX")
    try:
        for name, value in section.items():
            _check(name, value)
    except ConfigurationError as error:
        raise ConfigurationError(f"settings.STOMP[{alias!r}]['OUTBOX']: {error}", error.option) from None
    return OutboxSettings(**section)


def _check(name: str, value: object) -> None:
    problem = ""
    if name not in _NAMES:
        raise unknown_option(name, known=_NAMES)
    if name in {"default", "notify"} and not isinstance(value, bool):
        problem = "must be True or False"
    elif name == "relay" and value not in (None, "inline"):
        problem = "must be 'inline' or None"
    elif name == "database" and value is not None and str(value) not in connections:
        problem = "must be an alias of settings.DATABASES"
    elif name in {"keep", "inbox_keep"}:
        minimum = 0 if name == "keep" else 0.001
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value < 36_500:
            problem = "must be a number of days"
    elif name == "poll":
        try:
            read_seconds(value)
        except ValueError as error:
            problem = str(error)
    elif name in {"batch", "max_attempts"}:
        whole_number(name, value, 1, 10_000)
    if problem:
        raise ConfigurationError(f"{name} {problem}, not {value!r}", name)


def database_of(settings: OutboxSettings) -> str:
    """Return the alias of the database that has the outbox."""
    from .models import OutboxMessage

    return settings.database or router.db_for_write(OutboxMessage)
