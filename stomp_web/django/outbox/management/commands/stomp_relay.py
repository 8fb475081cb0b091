"""The command ``manage.py stomp_relay``."""

from __future__ import annotations

import sys
import typing

from django.core.management.base import CommandParser

from ....._internal.arguments import HEALTH, RELAY, add_options
from .....outbox.command import run_relay
from ....management.command import StompCommand
from ....publishers import publishers
from ...writing import make_relay

__all__ = ["Command"]


class Command(StompCommand):
    """Exit status: 0 after a normal end, 2 if the outbox cannot be used, 130 after a second Ctrl-C.

    With ``--once``, the status is 1 if messages remain unsent, or if the broker or the database cannot be reached.
    """

    help = (
        "Send the messages of the outbox until Ctrl-C. The broker confirms each message. Any number of relays may "
        "run at the same time (on SQLite, one works at a time). While the broker or the database is down, the command "
        "waits. The first Ctrl-C or SIGTERM ends it after its current batch; a second one, half a second "
        "later or more, ends it at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        super().add_arguments(parser)
        parser.add_argument("--database", help="The alias of the database. Default: that of the outbox.")
        parser.add_argument("--once", action="store_true", help="Send the messages that can be sent now, and exit.")
        add_options(parser, (*RELAY, *HEALTH))

    def handle(
        self,
        *,
        using: str,
        database: str | None,
        once: bool,
        poll: float | None,
        batch: int | None,
        max_attempts: int | None,
        health_port: int | tuple[str, int] | None,
        health_file: str | None,
        **_: typing.Any,
    ) -> None:
        """Run the relay until Ctrl-C or SIGTERM. With *once*, send the messages that can be sent now, and return."""
        publisher = publishers[using]  # to raise its errors now
        relay = make_relay(using, database, poll=poll, batch=batch, max_attempts=max_attempts)
        telemetry = publisher.options.telemetry
        try:
            code = run_relay(relay, once=once, telemetry=telemetry, health_port=health_port, health_file=health_file)
        finally:
            publishers.close_all()
        if code:
            sys.exit(code)
