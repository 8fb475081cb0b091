"""The command ``manage.py stomp_send DESTINATION BODY``."""

from __future__ import annotations

import typing

from django.core.management.base import CommandParser

from ....publisher.command import send_body
from ...publishers import publishers
from ..command import StompCommand

__all__ = ["Command"]


class Command(StompCommand):
    """Send one message. The exit status tells the outcome.

    The status is 0 if the message was sent. The status is 2 if the message or a setting is invalid, because the command
    would then always fail. After any other failure, the status is 1: the message was not sent, or the outcome is
    unknown.
    """

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
