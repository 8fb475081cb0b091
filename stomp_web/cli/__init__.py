"""The command ``stomp-web``. `main` reads the command line; each subcommand has a module of its name."""

from .command_line import main

__all__ = ["main"]
