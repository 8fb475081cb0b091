"""The command ``manage.py stomp_worker``. The command warns of SQLite settings that are unfit for concurrency."""

from __future__ import annotations

import sys
import typing

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connections
from django.utils.module_loading import autodiscover_modules

from ...._internal.arguments import HEALTH, add_options, worker_options
from ....worker.command import messages_at_once, run_worker
from ....worker.once import sqlite_problem
from ...handlers import handlers_by_alias, handlers_of, make_worker
from ...publishers import publishers
from ...sqlite import CHECK, sqlite_lacking
from ..command import StompCommand

__all__ = ["Command", "sqlite_problems"]

_MODULE = "stomp_handlers"


class Command(StompCommand):
    """Runs a worker. The exit status is 0 after the first Ctrl-C or SIGTERM, and 130 after a second Ctrl-C.

    The exit status is 1 if the worker cannot start, or if a handler did not finish in time.
    """

    help = (
        "Receive messages from the STOMP broker until Ctrl-C, and call the handlers in stomp_handlers.py of the "
        "installed apps. Also run the tasks of the backends in settings.TASKS that use this broker. While the broker "
        "is down, the command waits and connects again. The first Ctrl-C or SIGTERM shuts down cleanly: running "
        "handlers finish, and their messages are acknowledged. A second one, half a second later or more, stops the "
        "command at once."
    )
    unusable = 1

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        super().add_arguments(parser)
        add_options(parser, worker_options('STOMP[alias]["WORKER"]'), type=int)
        add_options(parser, HEALTH)

    def check(self, *args: typing.Any, **options: typing.Any) -> None:
        """Run the system checks, except the check of SQLite's options. `handle` itself warns of missing options."""
        silenced = settings.SILENCED_SYSTEM_CHECKS
        settings.SILENCED_SYSTEM_CHECKS = [*silenced, CHECK]
        try:
            super().check(*args, **options)
        finally:
            settings.SILENCED_SYSTEM_CHECKS = silenced

    def handle(
        self,
        *,
        using: str,
        concurrency: int | None,
        processes: int | None,
        health_port: int | tuple[str, int] | None,
        health_file: str | None,
        **_: typing.Any,
    ) -> None:
        """Run until Ctrl-C or SIGTERM."""
        options = publishers[using].options
        autodiscover_modules(_MODULE)
        handlers = handlers_of(using)
        if not handlers:
            others = ", ".join(sorted(repr(alias) for alias, handlers in handlers_by_alias.items() if handlers))
            hint = f"there are handlers for {others}; say --using" if others else "none was found"
            where = f"stomp_web.django.subscribe('/queue/...') in {_MODULE}.py of an app in INSTALLED_APPS"
            tasks = "; nor has settings.TASKS a backend of stomp_web.django.tasks for this alias"
            text = f"there is no handler for the alias {using!r}: they are functions with {where}{tasks}; {hint}"
            raise CommandError(text)
        worker = make_worker(using, options, handlers)
        for problem in sqlite_problems() if messages_at_once(worker, concurrency, processes) > 1 else ():
            self.stderr.write(self.style.WARNING(f"Warning: {problem}."))
        health: typing.Any = {"health_port": health_port, "health_file": health_file}
        code = run_worker(worker, concurrency=concurrency, processes=processes, **health)
        if code:
            sys.exit(code)


def sqlite_problems() -> typing.Iterator[str]:
    """Yield a sentence for each SQLite database that lacks a setting for concurrency. Opens no connection."""
    for connection in connections.all():
        if lacking := sqlite_lacking(connection):
            yield sqlite_problem(f"settings.DATABASES[{connection.alias!r}]", "OPTIONS", lacking)
