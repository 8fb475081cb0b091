"""What the broker logs: most of it while the lock of its state is held, so that it waits for the loop's round to end.

Log handlers are called in the broker's thread, and with no lock held. One that waits for this very broker, such as a
handler that sends a confirmed message to it, waits for its own thread: until its time is over.
"""

from __future__ import annotations

import typing

from .._internal.log import get_logger
from .._internal.notices import Notices

__all__ = ["log", "notices"]

log: typing.Final = get_logger("broker")
#: Of all brokers of the process: each loop publishes them at the end of its round.
notices: typing.Final = Notices()
