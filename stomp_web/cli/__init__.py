"""The command ``stomp-web``. `main` reads the command line, and calls the function of the subcommand."""

from .command_line import main

__all__ = ["main"]
