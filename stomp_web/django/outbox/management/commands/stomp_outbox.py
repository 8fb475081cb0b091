"""The command ``manage.py stomp_outbox status|retry|discard|purge``."""

from __future__ import annotations

import typing

from django.core.management.base import CommandParser

from ....._internal.arguments import days
from .....outbox.command import operate
from ....management.command import StompCommand
from ...writing import make_relay

__all__ = ["Command"]


class Command(StompCommand):
    """Exit status: 0 after success, 1 after a failure, 2 if the outbox cannot be used."""

    help = "Show the state of the outbox, send failed messages again, or delete messages."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's arguments."""
        super().add_arguments(parser)
        parser.add_argument(
            "action",
            choices=("status", "retry", "discard", "purge"),
            help="status: count the messages. retry: send failed ones again. discard: delete failed ones, unsent. "
            "purge: delete sent ones that were kept.",
        )
        parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="retry, discard: only these rows.")
        parser.add_argument("--days", type=days, default=0.0, help="purge: only those that were sent N days ago.")
        parser.add_argument("--database", help="The alias of the database. Default: that of the outbox.")
        # `parse_args` itself does not read ids on both sides of an option.
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]

    def handle(
        self, *, action: str, ids: list[int], days: float, using: str, database: str | None, **_: typing.Any
    ) -> None:
        """Carry out *action*, and print the result."""
        self.report(operate(make_relay(using, database).store, action, ids, days))
