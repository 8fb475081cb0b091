"""The base class of the app's commands. The class sets the exit status, and tolerates errors of output streams."""

from __future__ import annotations

import sys
import typing

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..._internal.streams import TolerantStream, keep_descriptors, settle
from ...errors import StompError
from ...publisher.command import never_succeeds
from ..publishers import DEFAULT_ALIAS

__all__ = ["StompCommand"]


class StompCommand(BaseCommand):
    """The base class of stomp-web's commands of ``manage.py``.

    The exit status is 0 after success. If the command failed and would fail again, the status is the number in the
    attribute `unusable`, which a subclass may override. After any other failure, the status is 1.

    The status does not change if a standard stream is closed, is full or has no reader.
    """

    unusable = 2

    def __init__(
        self, stdout: typing.TextIO | None = None, stderr: typing.TextIO | None = None, **options: bool
    ) -> None:
        keep_descriptors()
        output: typing.Any = TolerantStream(stdout or sys.stdout)
        errors: typing.Any = TolerantStream(stderr or sys.stderr)
        super().__init__(output, errors, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("--using", default=DEFAULT_ALIAS, help='The alias in settings.STOMP. Default: "default".')

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command from a shell."""
        try:
            super().run_from_argv(argv)
        finally:
            settle(sys.stdout, sys.stderr)

    def execute(self, *args: typing.Any, **options: typing.Any) -> str | None:
        """Run the command. Raises `CommandError` instead of a `StompError`."""
        try:
            return super().execute(*args, **options)
        except StompError as error:
            status = self.unusable if never_succeeds(error) else 1
            raise CommandError(str(error), returncode=status) from error

    def report(self, text: str) -> None:
        """Print the result *text*. If printing fails, only print a warning: the command itself has succeeded."""
        self.stdout.write(text)
        self.stdout.flush()
        reason = getattr(self.stdout, "failure", None)  # of TolerantStream; call_command may use another stream
        if reason is not None and not isinstance(reason, BrokenPipeError):
            self.stderr.write(f"Warning: standard output cannot be written: {reason.strerror}")
