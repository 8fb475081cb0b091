"""An AMQP 0-9-1 producer for RabbitMQ: it publishes what no STOMP client could send.

Only what that takes: connect as guest, publish to the default exchange with a confirmation, close. Headers are byte
strings, since AMQP's names and values are bytes of any kind (AMQP 0-9-1, 4.2.5.5).
"""

from __future__ import annotations

import socket
import struct
import time
import typing
from typing import Self

from tests.brokers.running import PATIENCE

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_BASIC = 60
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE = 0x8000, 0x2000, 0x1000  # flags of properties, in the order of the wire
_MOST = 131_072  # bytes of a frame


class AmqpProducer:
    """One connection with one channel, in confirm mode."""

    def __init__(self, host: str, port: int, limit: float = PATIENCE) -> None:
        self._socket = _connect(host, port, limit)
        self._stream = self._socket.makefile("rb")
        try:
            self._socket.sendall(b"AMQP\0\0\x09\x01")
            self._read(10, 10)
            self._call(0, 10, 11, _table({}) + _short(b"PLAIN") + _long(b"\0guest\0guest") + _short(b"en_US"))
            tune = self._read(10, 30)
            channels, _, _ = struct.unpack_from(">HIH", tune)
            self._call(0, 10, 31, struct.pack(">HIH", channels, _MOST, 0))
            self._call(0, 10, 40, _short(b"/") + _short(b"") + b"\0")
            self._read(10, 41)
            self._call(1, 20, 10, _short(b""))
            self._read(20, 11)
            self._call(1, 85, 10, b"\0")
            self._read(85, 11)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def declare(self, queue: bytes) -> None:
        """Make a durable queue, as a SUBSCRIBE or SEND to ``/queue/NAME`` makes it."""
        self._call(1, 50, 10, b"\0\0" + _short(queue) + b"\x02" + _table({}))
        self._read(50, 11)

    def publish(
        self,
        queue: bytes,
        body: bytes,
        headers: typing.Mapping[bytes, bytes],
        content_type: bytes = b"application/json",
    ) -> None:
        """Publish a persistent message to *queue*, and wait for the confirmation."""
        self._call(1, _BASIC, 40, b"\0\0" + _short(b"") + _short(queue) + b"\0")
        flags = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE
        properties = _short(content_type) + _table(headers) + b"\x02"
        self._write(_HEADER, 1, struct.pack(">HHQH", _BASIC, 0, len(body), flags) + properties)
        for start in range(0, len(body), _MOST - 8):
            self._write(_BODY, 1, body[start : start + _MOST - 8])
        self._read(_BASIC, 80)

    def _call(self, channel: int, kind: int, method: int, arguments: bytes) -> None:
        self._write(_METHOD, channel, struct.pack(">HH", kind, method) + arguments)

    def _write(self, kind: int, channel: int, payload: bytes) -> None:
        self._socket.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + _END)

    def _read(self, kind: int, method: int) -> bytes:
        _, _, size = struct.unpack(">BHI", self._stream.read(7))
        payload = self._stream.read(size + 1)
        found = struct.unpack_from(">HH", payload)
        assert found == (kind, method), f"RabbitMQ answered {found} with {payload!r}, not {(kind, method)}"
        return bytes(payload[4:-1])


def _connect(host: str, port: int, limit: float) -> socket.socket:
    """Connect, also to a broker that has answered to STOMP already and opens this port a moment later."""
    end = time.monotonic() + limit
    while True:
        try:
            return socket.create_connection((host, port), limit)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _short(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def _table(entries: typing.Mapping[bytes, bytes]) -> bytes:
    return _long(b"".join(_short(name) + b"S" + _long(value) for name, value in entries.items()))
