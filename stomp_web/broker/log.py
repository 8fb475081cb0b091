"""The logger of the broker. Most records are made while a lock is held, so they wait until the loop's round ends.

Log handlers are called in the broker's thread without a lock. A handler that waits for this broker, for example by
sending a confirmed message to it, waits for its own thread until its timeout.
"""

from __future__ import annotations

import typing

from .._internal.log import get_logger
from .._internal.notices import Notices

__all__ = ["log", "notices"]

log: typing.Final = get_logger("broker")
#: The waiting records of all brokers of the process. Each loop publishes them at the end of its round.
notices: typing.Final = Notices()
