"""The command ``stomp-web``: a development broker, and messages in either direction, from a shell.

`main` reads the command line; ``broker``, ``send`` and ``listen`` do what the subcommands of these names are for;
``display`` makes fit for a terminal what came from elsewhere.
"""

from .command_line import main

__all__ = ["main"]
