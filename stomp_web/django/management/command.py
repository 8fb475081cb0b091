"""The base class of the app's commands: their exit status, and output that may fail."""

from __future__ import annotations

import sys
import typing

from django.core.management.base import BaseCommand, CommandError

from ..._internal.streams import TolerantStream, keep_descriptors, settle
from ...errors import ConfigurationError, InvalidFrame, StompError

__all__ = ["StompCommand", "failure"]


class StompCommand(BaseCommand):
    """A command that ends with 0 if it succeeded, 1 if it failed, and 2 if it can never succeed.

    A standard stream that is closed, or full, or a pipe without a reader, does not change the exit status.
    """

    def __init__(
        self,
        stdout: typing.TextIO | None = None,
        stderr: typing.TextIO | None = None,
        no_color: bool = False,
        force_color: bool = False,
    ) -> None:
        keep_descriptors()
        self._output = TolerantStream(sys.stdout if stdout is None else stdout)
        errors = TolerantStream(sys.stderr if stderr is None else stderr)
        super().__init__(
            typing.cast(typing.TextIO, self._output), typing.cast(typing.TextIO, errors), no_color, force_color
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from a shell."""
        try:
            super().run_from_argv(argv)
        finally:
            settle(sys.stdout, sys.stderr)

    def report(self, text: str) -> None:
        """Print *text*, the result. If it cannot be printed, warn: the command has succeeded all the same."""
        self.stdout.write(text)
        self.stdout.flush()
        reason = self._output.failure
        if reason is not None and not isinstance(reason, BrokenPipeError):
            self.stderr.write(f"Warning: standard output cannot be written: {reason.strerror}")


def failure(error: StompError) -> CommandError:
    """Return the exception that a command raises for *error*."""
    wrong = isinstance(error, ConfigurationError | InvalidFrame)
    return CommandError(str(error), returncode=2 if wrong else 1)
