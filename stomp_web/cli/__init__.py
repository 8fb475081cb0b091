"""The command ``stomp-web``: a development broker, messages in either direction, and a worker, from a shell.

`main` reads the command line; each subcommand has a module of its name; ``display`` prints.
"""

from .command_line import main

__all__ = ["main"]
