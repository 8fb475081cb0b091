"""`capture` records messages in a list. The messages do not go to a broker."""

from __future__ import annotations

import contextlib
import typing

from ..publisher.backends.local import MemoryBackend, OutboxMessage
from ..publisher.publisher import Publisher, detours

__all__ = ["capture", "capture_if"]


@contextlib.contextmanager
def capture(*publishers: Publisher) -> typing.Iterator[list[OutboxMessage]]:
    """Record the messages that *publishers* send in the ``with`` block. Without arguments, record all publishers.

    Yields a list with the messages of all threads. The messages are built and checked as usual, and observers get
    events. The publishers open no connection, except for `Publisher.check`. If nested blocks record the same publisher,
    only the innermost block gets the publisher's messages.

    >>> publisher = Publisher("stomp://mq.example.com")
    >>> with capture() as outbox:
    ...     message_id = publisher.send("/queue/orders", {"id": 7})
    >>> outbox[0].destination, outbox[0].payload
    ('/queue/orders', {'id': 7})
    """
    with capture_if(lambda publisher: not publishers or any(publisher is each for each in publishers)) as outbox:
        yield outbox


@contextlib.contextmanager
def capture_if(wanted: typing.Callable[[Publisher], bool]) -> typing.Iterator[list[OutboxMessage]]:
    """Record the messages of each publisher for which *wanted* returns true. See `capture`."""
    outbox: list[OutboxMessage] = []

    def detour(publisher: Publisher) -> MemoryBackend | None:
        if not wanted(publisher):
            return None
        backend = MemoryBackend("memory", publisher.options.signing_keys)
        backend.outbox = outbox
        return backend

    detours.append(detour)
    try:
        yield outbox
    finally:
        detours.remove(detour)
