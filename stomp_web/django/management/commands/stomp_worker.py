"""``manage.py stomp_worker``, and its warning about SQLite settings that fail with several messages at a time."""

from __future__ import annotations

import re
import sys
import typing

from django.core.management.base import CommandError, CommandParser
from django.db import connections
from django.utils.module_loading import autodiscover_modules

from ...._internal.arguments import add_options, worker_options
from ....worker.command import messages_at_once, run_worker
from ....worker.once import SQLITE_TIMEOUT, sqlite_problem
from ...handlers import handlers_by_alias, make_worker
from ...publishers import publishers
from ..command import StompCommand

__all__ = ["Command", "sqlite_problems"]

_MODULE = "stomp_handlers"


class Command(StompCommand):
    """Ends with 0 after Ctrl-C or SIGTERM, and with 1 if it cannot start or a handler did not finish in time."""

    help = (
        "Receive messages from the STOMP broker until Ctrl-C, and call the handlers in stomp_handlers.py of the "
        "installed apps. While the broker is away, the command waits and connects again. The first Ctrl-C or SIGTERM "
        "shuts down cleanly: running handlers finish, and their messages are acknowledged. A second one, half a "
        "second later or more, stops the command at once."
    )
    unusable = 1

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        super().add_arguments(parser)
        add_options(parser, worker_options('STOMP[alias]["WORKER"]'), type=int)

    def handle(self, *, using: str, concurrency: int | None, processes: int | None, **_: typing.Any) -> None:
        """Run until Ctrl-C or SIGTERM."""
        options = publishers[using].options
        autodiscover_modules(_MODULE)
        handlers = handlers_by_alias.get(using)
        if not handlers:
            others = ", ".join(sorted(repr(alias) for alias, handlers in handlers_by_alias.items() if handlers))
            hint = f"there are handlers for {others}; say --using" if others else "none was found"
            where = f"stomp_web.django.subscribe('/queue/...') in {_MODULE}.py of an app in INSTALLED_APPS"
            raise CommandError(f"there is no handler for the alias {using!r}: they are functions with {where}; {hint}")
        worker = make_worker(using, options, handlers)
        for problem in sqlite_problems() if messages_at_once(worker, concurrency, processes) > 1 else ():
            self.stderr.write(self.style.WARNING(f"Warning: {problem}."))
        code = run_worker(worker, concurrency=concurrency, processes=processes)
        if code:
            sys.exit(code)


# SQLite lets one connection write at a time. Another connection waits for `timeout` seconds. But it fails at once if
# its transaction has read before, and Django's default transactions may do that. So without the settings below, a
# worker with several threads gets "database is locked", and good messages are dead-lettered.

_TIMEOUT = 20.0  # seconds; without the option, Python's sqlite3 waits for 5 seconds
_WAL = re.compile(r"journal_mode\s*=\s*['\"]?wal\b", re.IGNORECASE)


def sqlite_problems() -> typing.Iterator[str]:
    """Yield a sentence for each SQLite database in DATABASES that lacks a setting. Opens no connection."""
    for connection in connections.all():
        if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
            continue
        lacking = " and ".join(_lacking(connection.settings_dict.get("OPTIONS") or {}))
        if lacking:
            yield sqlite_problem(f"settings.DATABASES[{connection.alias!r}]", "OPTIONS", lacking)


def _lacking(options: typing.Mapping[str, typing.Any]) -> typing.Iterator[str]:
    timeout = options.get("timeout", 0)
    if not isinstance(timeout, int | float) or timeout < SQLITE_TIMEOUT:  # without it, Python's sqlite3 waits for 5
        yield f"'timeout': {SQLITE_TIMEOUT:g}"
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield "'transaction_mode': 'IMMEDIATE'"
    if not _WAL.search(str(options.get("init_command"))):
        yield "'init_command': 'PRAGMA journal_mode=WAL'"
