"""The backends for the addresses ``memory://``, ``console://`` and ``null://``.

These backends build and check a message in the same way as `BrokerBackend`, and refuse the same messages.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import typing

from ..._internal.per_process import PerProcess
from ...client.message import Message, send_frame
from ...connection.deadline import Deadline
from ...connection.dialect import GENERIC
from ...errors import PoolClosed
from ...pool import Health, PoolStats
from ...protocol import Frame, encode
from ...serializers import deserialize

__all__ = ["OutboxMessage", "local_backend"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that was sent to ``memory://``. `headers` contains all headers of the SEND frame."""

    id: str
    destination: str
    headers: dict[str, str]
    body: bytes = dataclasses.field(repr=False)
    keys: tuple[str | bytes, ...] = dataclasses.field(default=(), repr=False)

    @property
    def content_type(self) -> str | None:
        """The MIME type of the body, or ``None``."""
        return self.headers.get("content-type")

    @property
    def payload(self) -> typing.Any:
        """The payload that a receiver would read from the body. For example, a date in JSON is read as text."""
        names = ("json", "text", "bytes", "pickle", "signed-json", "signed-pickle")
        return deserialize(self.body, self.headers, accept=names, keys=self.keys)


class LocalBackend:
    """The backend of ``null://``, and the base class of the other local backends. Subclasses define `take`."""

    def __init__(self, scheme: str) -> None:
        self.address = f"{scheme}://"
        self._closed = False

    def deliver(self, messages: typing.Sequence[Message], confirm: bool, deadline: Deadline) -> None:
        if self._closed:
            raise PoolClosed(f"the publisher for {self.address} is closed; nothing was sent", broker=self.address)
        frames = []
        for message in messages:
            frame = send_frame(message)
            if message.ttl is not None:
                frame.headers[GENERIC.expiry_header] = GENERIC.expiry_of(message.ttl)
            encode(frame)
            frames.append(frame)
        for message, frame in zip(messages, frames, strict=True):
            self.take(message, frame)

    def take(self, message: Message, frame: Frame) -> None:
        """Keep or print *frame*. The base class drops *frame*."""

    def check(self, timeout: float | None = None) -> Health:
        return Health(True, self.address, seconds=0.0)

    def pool_stats(self) -> PoolStats | None:
        return None

    def close(self, timeout: float) -> None:
        self._closed = True


class MemoryBackend(LocalBackend):
    """The backend of ``memory://``, which keeps every message in a list."""

    def __init__(self, scheme: str, keys: tuple[str | bytes, ...]) -> None:
        super().__init__(scheme)
        self.outbox: list[OutboxMessage] = []
        self._keys = keys

    def take(self, message: Message, frame: Frame) -> None:
        self.outbox.append(OutboxMessage(message.id or "", message.destination, frame.headers, frame.body, self._keys))


class ConsoleBackend(LocalBackend):
    """The backend of ``console://``, which prints the headers and the body of every message on standard output."""

    def take(self, message: Message, frame: Frame) -> None:
        lines = [f"SEND {message.destination}"]
        lines += [f"  {name}: {value}" for name, value in frame.headers.items() if name != "destination"]
        try:
            text = frame.body.decode()
        except UnicodeDecodeError:
            text = repr(frame.body)
        _console[os.getpid()].write("\n".join([*lines, "", text, "-" * 40, ""]))


class _Console:
    """A writer to the standard output of one process. The writer has its own stream, and writes a text in one call.

    If a slow program reads the output, a write to `sys.stdout` would hold the stream's lock for a long time. A child
    that is forked during the write would inherit the held lock. On CPython 3.11 and 3.12, the child would wait for
    ever, even in the flush at exit.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._inherited = sys.stdout if pid != _FIRST_PROCESS else None
        self._streams: tuple[typing.TextIO, typing.TextIO] | None = None

    def write(self, text: str) -> None:
        shown = sys.stdout
        if shown is None:  # a program without a console
            return
        if type(shown) is not io.TextIOWrapper or type(shown.buffer) not in (io.BufferedWriter, io.FileIO):
            shown.write(text)  # a stream that the application made, or a stream in memory
            shown.flush()
            return
        if shown is not self._inherited:
            shown.flush()  # so that earlier output comes before *text*
        streams = self._streams
        if streams is None or streams[0] is not shown:
            own = open(shown.fileno(), "w", encoding=shown.encoding, errors=shown.errors, closefd=False)  # noqa: SIM115
            self._streams = streams = (shown, own)
        streams[1].write(text)
        streams[1].flush()


_FIRST_PROCESS = os.getpid()
_console = PerProcess(_Console)


def local_backend(scheme: str, keys: tuple[str | bytes, ...]) -> LocalBackend:
    """Return the backend for *scheme*, which is ``memory``, ``console`` or ``null``."""
    if scheme == "memory":
        return MemoryBackend(scheme, keys)
    return ConsoleBackend(scheme) if scheme == "console" else LocalBackend(scheme)
