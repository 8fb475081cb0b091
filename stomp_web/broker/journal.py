"""The history of the broker, for tests: accepted messages, and counts of frames and connections.

It does not take part in delivery. Its memory is bounded: beyond the limit the oldest messages are forgotten.
"""

from __future__ import annotations

import collections

from ..protocol import Frame
from .messages import Message

__all__ = ["Journal"]


class Journal:
    """The accepted messages, in order, up to *limit* bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.connections_accepted = 0
        #: How many frames of each command clients have sent.
        self.frames: collections.Counter[str] = collections.Counter()
        #: The latest CONNECT frames, with ``***`` for the passcode.
        self.connects: collections.deque[Frame] = collections.deque(maxlen=1_000)
        #: How many messages each destination has accepted, the forgotten ones included.
        self.accepted: collections.Counter[str] = collections.Counter()
        self._all: collections.deque[Message] = collections.deque()
        self._by_destination: dict[str, collections.deque[Message]] = {}
        self._size = 0

    def add(self, message: Message) -> None:
        """Note that *message* was accepted."""
        self.accepted[message.destination] += 1
        self._all.append(message)
        self._by_destination.setdefault(message.destination, collections.deque()).append(message)
        self._size += message.size
        while self._size > self.limit:
            oldest = self._all.popleft()
            self._by_destination[oldest.destination].popleft()
            self._size -= oldest.size

    def messages(self, destination: str) -> list[Message]:
        """Return every message that *destination* has accepted, in order. `LookupError` if some are forgotten."""
        kept = self._by_destination.get(destination, ())
        forgotten = self.accepted[destination] - len(kept)
        if forgotten:
            raise LookupError(
                f"the oldest {forgotten} messages of {destination!r} are forgotten, because all messages together "
                f"exceed {self.limit} bytes; give the broker a larger history="
            )
        return list(kept)

    def destinations(self) -> list[str]:
        """Return the destinations that have accepted a message, in the order of their first one."""
        return [destination for destination, count in self.accepted.items() if count]

    def connected(self, connect: Frame) -> None:
        """Note a CONNECT frame, without its passcode."""
        headers = {name: "***" if name == "passcode" else value for name, value in connect.headers.items()}
        self.connects.append(Frame(connect.command, headers))

    def clear(self) -> None:
        """Forget all messages and frames. The count of connections stays."""
        self.frames.clear()
        self.connects.clear()
        self.accepted.clear()
        self._all.clear()
        self._by_destination.clear()
        self._size = 0
