"""The command ``stomp-web``. `main` reads the command line; each subcommand has a function."""

from .command_line import main

__all__ = ["main"]
