"""``python -m stomp_web`` is the same as the command ``stomp-web``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
