"""Where messages go that go to no broker: into a list, onto the console, nowhere.

These stand behind ``memory://``, ``console://`` and ``null://``. Each message is built and checked by the code that
builds it for a broker, so that what fails there fails here too.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import typing

from .client.deadline import Deadline
from .client.dialect import GENERIC
from .client.message import Message, send_frame
from .errors import PoolClosed
from .pool import Health, PoolStats
from .protocol import Frame, encode
from .serializers import deserialize

__all__ = ["OutboxMessage", "local_outlet"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that was sent to ``memory://``: its `id`, `destination`, all `headers` of its frame, and `body`."""

    id: str
    destination: str
    headers: dict[str, str]
    body: bytes = dataclasses.field(repr=False)
    keys: tuple[str | bytes, ...] = dataclasses.field(default=(), repr=False)

    @property
    def content_type(self) -> str | None:
        """The body's MIME type."""
        return self.headers.get("content-type")

    @property
    def payload(self) -> typing.Any:
        """The payload, read back from the body as a receiver would read it: of JSON, dates are texts."""
        names = ("json", "text", "bytes", "pickle", "signed-json", "signed-pickle")
        return deserialize(self.body, self.headers, accept=names, keys=self.keys)


class _LocalOutlet:
    """What the three have in common. Subclasses say what becomes of a frame."""

    def __init__(self, scheme: str) -> None:
        self.address = f"{scheme}://"
        self._closed = False

    def deliver(
        self,
        messages: typing.Sequence[Message],
        confirm: bool,
        deadline: Deadline,
        heads: typing.Sequence[bytes] | None = None,
    ) -> None:
        if self._closed:
            raise PoolClosed(f"the publisher for {self.address} is closed; nothing was sent", broker=self.address)
        frames = []
        for message in messages:
            frame = send_frame(message)
            if message.ttl is not None:
                frame.headers.update(GENERIC.expiry(message.ttl))
            encode(frame)
            frames.append(frame)
        for message, frame in zip(messages, frames, strict=True):
            self.take(message, frame)

    def take(self, message: Message, frame: Frame) -> None:
        """Do with *frame* what this outlet is for."""

    def check(self, timeout: float | None = None) -> Health:
        return Health(True, self.address, seconds=0.0)

    def pool_stats(self) -> PoolStats | None:
        return None

    def close(self, timeout: float) -> None:
        self._closed = True


class MemoryOutlet(_LocalOutlet):
    """Keeps every message in a list."""

    def __init__(self, scheme: str, keys: tuple[str | bytes, ...]) -> None:
        super().__init__(scheme)
        self.outbox: list[OutboxMessage] = []
        self._keys = keys

    def take(self, message: Message, frame: Frame) -> None:
        self.outbox.append(OutboxMessage(message.id or "", message.destination, frame.headers, frame.body, self._keys))


class ConsoleOutlet(_LocalOutlet):
    """Prints every message to standard output, headers and body, for development."""

    _lock = threading.Lock()

    def take(self, message: Message, frame: Frame) -> None:
        lines = [f"SEND {message.destination}"]
        lines += [f"  {name}: {value}" for name, value in frame.headers.items() if name != "destination"]
        try:
            text = frame.body.decode()
        except UnicodeDecodeError:
            text = repr(frame.body)
        with self._lock:
            print("\n".join([*lines, "", text, "-" * 40]), file=sys.stdout, flush=True)


def local_outlet(scheme: str, keys: tuple[str | bytes, ...]) -> _LocalOutlet:
    """The outlet for *scheme*, one of ``memory``, ``console`` and ``null``."""
    if scheme == "memory":
        return MemoryOutlet(scheme, keys)
    return ConsoleOutlet(scheme) if scheme == "console" else _LocalOutlet(scheme)
