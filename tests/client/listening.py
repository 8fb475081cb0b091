"""A client's loop in a thread of its own."""

from __future__ import annotations

import threading

from stomp_web import (
    QueueingDuplexClient,
    StompError,
)
from tests.client.scripted import eventually


class Loop:
    """`listen_forever` in a thread, and what it raised."""

    def __init__(self, client: QueueingDuplexClient) -> None:
        self.client = client
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert eventually(lambda: client.listening_event.is_set() or not self.thread.is_alive())

    def run(self) -> None:
        try:
            self.client.listen_forever()
        except StompError as error:
            self.error = error

    def ended(self) -> bool:
        self.thread.join(120)
        return not self.thread.is_alive()
