"""Relays that run in threads while a test looks at what they do."""

from __future__ import annotations

import operator
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from stomp_web.outbox import Relay

LIMIT = 150.0


class Running:
    """Relays that run, each in a thread, until the block ends. *within* calls the function of each thread."""

    def __init__(self, *relays: Relay, within: Callable[[Callable[[], int]], int] = operator.call) -> None:
        self._relays = relays
        self._threads = [threading.Thread(target=within, args=(relay.run,)) for relay in relays]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for relay, thread in zip(self._relays, self._threads, strict=True):
            relay.stop()
            thread.join(LIMIT)
            assert not thread.is_alive()
