"""The command ``manage.py stomp_ping``."""

from __future__ import annotations

import typing

from django.core.management.base import CommandParser

from ...._internal.arguments import seconds
from ....publisher.command import check_broker
from ...publishers import publishers
from ..command import StompCommand

__all__ = ["Command"]


class Command(StompCommand):
    """Exit status: 0 if the broker answers, 1 if it does not answer, 2 for a wrong command line or configuration."""

    help = "Check that the STOMP broker answers, and print how long it took and the broker's name."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--timeout", type=seconds, metavar="SECONDS", help="How long to wait. Default: the timeout of the alias."
        )

    def handle(self, *, using: str, timeout: float | None, **_: typing.Any) -> None:
        """Check the broker and print its answer."""
        self.report(check_broker(publishers[using], timeout))
