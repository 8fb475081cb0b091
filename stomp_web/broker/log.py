"""The logger of the broker. Its handlers are called in the broker's thread, without a lock, when a round ends.

A handler that sends a confirmed message to this broker waits for its own thread until its timeout.
"""

from __future__ import annotations

import typing

from .._internal.log import get_logger
from .._internal.notices import Notices

__all__ = ["log", "notices"]

log: typing.Final = get_logger("broker")
#: The waiting records of all brokers of the process. Each loop publishes them at the end of its round.
notices: typing.Final = Notices()
