"""``manage.py stomp_ping``."""

from __future__ import annotations

import typing

from django.core.management.base import CommandError, CommandParser

from ....errors import StompError
from ...publishers import DEFAULT_ALIAS, publishers
from ..command import StompCommand, failure, seconds

__all__ = ["Command"]


class Command(StompCommand):
    """Ends with 0 if the broker answers, 1 if it does not, and 2 for a wrong command line or configuration."""

    help = "Ask the STOMP broker for a sign of life, and print how long that took and what it says of itself."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        parser.add_argument("--using", default=DEFAULT_ALIAS, help='The alias in settings.STOMP. Default: "default".')
        parser.add_argument(
            "--timeout", type=seconds, metavar="SECONDS", help="How long to wait. Default: the alias's."
        )

    def handle(self, *, using: str, timeout: float | None, **_: typing.Any) -> None:
        """Ask, and print."""
        try:
            health = publishers[using].check(timeout)
        except StompError as error:
            raise failure(error) from error
        if not health:
            raise CommandError(str(health))
        self.report(str(health))
