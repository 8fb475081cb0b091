"""``manage.py stomp_worker``."""

from __future__ import annotations

import sys
import typing

from django.core.management.base import CommandError, CommandParser
from django.utils.module_loading import autodiscover_modules

from ....worker.command import run_worker
from ...handlers import handlers_by_alias, make_worker
from ...publishers import publishers
from ...sqlite import sqlite_problems
from ..command import StompCommand

__all__ = ["Command"]

_MODULE = "stomp_handlers"


class Command(StompCommand):
    """Ends with 0 after Ctrl-C or SIGTERM, and with 1 if it cannot begin or a handler did not finish in time."""

    unusable = 1
    help = (
        "Receive messages from the STOMP broker until Ctrl-C, and call the handlers in stomp_handlers.py of the "
        "installed apps. While the broker is away, the command waits and connects again. The first Ctrl-C or SIGTERM "
        "shuts down cleanly: running handlers finish, and their messages are acknowledged. A second one, half a "
        "second later or more, stops the command at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--concurrency",
            type=int,
            metavar="N",
            help="Handle up to N messages at once, each in a thread. Ignored if they are handled in processes. "
            'Default: that of STOMP[alias]["WORKER"], else 8.',
        )
        parser.add_argument(
            "--processes",
            type=int,
            metavar="N",
            help="Handle messages in N processes instead, one at a time in each; 0 means in threads. Default: "
            'that of STOMP[alias]["WORKER"], else 0.',
        )

    def handle(self, *, using: str, concurrency: int | None, processes: int | None, **_: typing.Any) -> None:
        """Run until Ctrl-C or SIGTERM."""
        options = publishers[using].options
        autodiscover_modules(_MODULE)
        handlers = handlers_by_alias.get(using)
        if not handlers:
            raise CommandError(_no_handler(using))
        worker = make_worker(using, options, handlers)
        threads = worker.concurrency if concurrency is None else concurrency
        if ((worker.processes if processes is None else processes) or threads) > 1:
            for problem in sqlite_problems():
                self.stderr.write(self.style.WARNING(f"Warning: {problem}."))
        code = run_worker(worker, concurrency=concurrency, processes=processes)
        if code:
            sys.exit(code)


def _no_handler(using: str) -> str:
    others = ", ".join(sorted(repr(alias) for alias, handlers in handlers_by_alias.items() if handlers))
    hint = f"there are handlers for {others}; say --using" if others else "none was found"
    where = f"functions with stomp_web.django.subscribe('/queue/...') in {_MODULE}.py of an app in INSTALLED_APPS"
    return f"there is no handler for the alias {using!r}: they are {where}; {hint}"
