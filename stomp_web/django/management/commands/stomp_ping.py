"""``manage.py stomp_ping``."""

from __future__ import annotations

import typing

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ....errors import StompError
from ...publishers import DEFAULT_ALIAS, publishers

__all__ = ["Command"]


class Command(BaseCommand):
    """Ends with 0 if the broker answers, and 1 if it does not."""

    help = "Ask the STOMP broker for a sign of life, and print what it says of itself."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        parser.add_argument("--using", default=DEFAULT_ALIAS, help='The alias in settings.STOMP. Default: "default".')
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="How long to wait. Default: the alias's.")

    def handle(self, *, using: str, timeout: float | None, **_: typing.Any) -> None:
        """Ask, and print."""
        try:
            health = publishers[using].check(timeout)
        except StompError as error:
            raise CommandError(str(error)) from error
        if not health:
            raise CommandError(str(health))
        self.stdout.write(str(health))
