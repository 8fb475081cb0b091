"""What the app's commands have in common: how they end, and that they do without standard streams."""

from __future__ import annotations

import argparse
import sys
import typing

from django.core.management.base import BaseCommand, CommandError

from ..._internal.streams import TolerantStream, keep_descriptors, settle
from ...errors import ConfigurationError, InvalidFrame, StompError

__all__ = ["StompCommand", "failure", "seconds"]


class StompCommand(BaseCommand):
    """A command that ends with 0 if it did what it was asked for, 1 if not, and 2 if that can never work.

    A standard stream that is closed, full, or a pipe that is read no more changes nothing about that.
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
        """Print *text* about what was done. It was done, whether this can be printed or not."""
        self.stdout.write(text)
        self.stdout.flush()
        reason = self._output.failure
        if reason is not None and not isinstance(reason, BrokenPipeError):
            self.stderr.write(f"Warning: standard output cannot be written: {reason.strerror}")


def failure(error: StompError) -> CommandError:
    """What a command raises for *error*."""
    wrong = isinstance(error, ConfigurationError | InvalidFrame)
    return CommandError(str(error), returncode=2 if wrong else 1)


def seconds(text: str) -> float:
    """Read a number of seconds from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return value
