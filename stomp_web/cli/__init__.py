"""The command ``stomp-web``: a development broker, messages in either direction, and a worker, from a shell.

`main` reads the command line; ``broker``, ``send``, ``listen`` and ``worker`` do what the subcommands of these names
are for; ``display`` makes fit for a terminal what came from elsewhere.
"""

from .command_line import main

__all__ = ["main"]
