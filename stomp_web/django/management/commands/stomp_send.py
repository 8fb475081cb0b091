"""The command ``manage.py stomp_send DESTINATION BODY``."""

from __future__ import annotations

import typing

from django.core.management.base import CommandParser

from ....publisher.command import send_body
from ...publishers import publishers
from ..command import StompCommand

__all__ = ["Command"]


class Command(StompCommand):
    """Exit status: 0 for a sent message, 1 if it was not sent or the outcome is unknown, 2 if it can never be sent."""

    help = "Send a message to the STOMP broker, and print its id."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("destination", help="The destination, such as /queue/orders.")
        parser.add_argument("body", help="Sent as JSON if it is JSON, and as text otherwise.")
        super().add_arguments(parser)
        parser.add_argument(
            "--serializer", metavar="NAME", help="The serializer: text, bytes, or one for which the body must be JSON."
        )

    def handle(self, *, destination: str, body: str, using: str, serializer: str | None, **_: typing.Any) -> None:
        """Send the message and print its id."""
        self.report(send_body(publishers[using], destination, body, serializer, self.stderr.write))
