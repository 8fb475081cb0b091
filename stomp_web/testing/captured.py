"""`capture`: messages go into a list instead of to a broker."""

from __future__ import annotations

import contextlib
import typing

from ..publisher.backends.local import MemoryBackend, OutboxMessage
from ..publisher.publisher import Publisher, detours

__all__ = ["capture", "capture_if"]


@contextlib.contextmanager
def capture(*publishers: Publisher) -> typing.Iterator[list[OutboxMessage]]:
    """Record what *publishers* send while the ``with`` block runs; if none are given, what every publisher sends.

    Yields the list of the messages, from all threads. They are built and checked as for a broker, and observers are
    notified of them, but no connection is opened. Of nested blocks, the innermost gets the message. `Publisher.check`
    still asks the broker.

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
    """Record what each publisher sends for which *wanted* returns true. Otherwise it is like `capture`."""
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
