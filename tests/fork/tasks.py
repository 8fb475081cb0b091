"""What processes of `multiprocessing` do. Not beside their tests, because ``spawn`` imports it by its name."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from stomp_web import Publisher
from tests.fork.family import LIMIT

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

inherited: Publisher | None = None
"""For `publish_as_worker`, which cannot be given one."""


def publish_three(publisher: Publisher | str, pipe: Connection) -> None:
    """Send three messages through a publisher, or through one for an address, and tell the ids."""
    _never_hang()
    if isinstance(publisher, str):
        publisher = Publisher(publisher)
    with pipe:
        pipe.send([publisher.send("/queue/orders", os.getpid()) for _ in range(3)])


def publish_as_worker(number: int) -> tuple[int, str]:
    _never_hang()
    assert inherited is not None
    return os.getpid(), inherited.send("/queue/orders", number)


def _never_hang() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT)
