"""A client of only a socket and a `FrameBuffer`, which may send valid and invalid frames."""

from __future__ import annotations

import socket
import ssl
import time
import typing

from stomp_web.broker import Broker
from stomp_web.protocol import Frame, FrameBuffer, encode

#: Seconds after which a test that waits in vain fails.
PATIENCE = 150.0


class Wire:
    """One TCP connection to a broker."""

    def __init__(self, broker: Broker, *, tls: ssl.SSLContext | None = None, receive_buffer: int = 0) -> None:
        host, port = broker.address
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.sock.connect((host, port))
            if tls is not None:
                self.sock = tls.wrap_socket(self.sock, server_hostname=host)
        except OSError:
            self.sock.close()
            raise
        self.version = "1.2"
        self.buffer = FrameBuffer("1.2")
        self.bytes_read = b""

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def connect(self, version: str | None = "1.2", command: str = "CONNECT", **headers: str) -> Frame:
        """CONNECT in this version; header names have `_` for `-`. Returns the answer."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if version is not None:
            said = {"accept-version": version, "host": "/"} | said
        self.send(Frame(command, said))
        answer = self.receive()
        if answer.command == "CONNECTED":
            self.version = self.buffer.version = answer.headers.get("version", "1.0")
        return answer

    def send(self, frame: Frame, *, content_length: bool = True) -> None:
        self.write(encode(frame, self.version, content_length=content_length))

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(
        self, command: str, headers: dict[str, str] | None = None, body: bytes = b"", *, text: bool = False
    ) -> Frame:
        """Send a frame with a receipt and return the answer, which is the RECEIPT unless it failed."""
        receipt = f"receipt-{time.monotonic_ns()}"
        self.send(Frame(command, {**(headers or {}), "receipt": receipt}, body), content_length=not text)
        answer = self.receive()
        if answer.command == "RECEIPT":
            assert answer.headers == {"receipt-id": receipt}
        return answer

    def do(self, command: str, headers: dict[str, str] | None = None, body: bytes = b"", *, text: bool = False) -> None:
        """Send a frame with a receipt, which must come next."""
        answer = self.ask(command, headers, body, text=text)
        assert answer.command == "RECEIPT", f"{answer} {answer.body!r}"

    def put(self, destination: str, *bodies: bytes, **headers: str) -> None:
        """Send confirmed messages."""
        for body in bodies:
            self.do("SEND", {"destination": destination, **headers}, body)

    def subscribe(self, destination: str, id: str = "s", ack: str = "auto", **headers: str) -> None:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        self.do("SUBSCRIBE", {"destination": destination, "id": id, "ack": ack} | said)

    def receive(self) -> Frame:
        """The next frame. Raises `EOFError` at the end of the stream and `TimeoutError` if there is neither."""
        deadline = time.monotonic() + PATIENCE
        while (frame := self.buffer.extract_frame()) is None:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self.bytes_read += data
            self.buffer.append(data)
        return frame

    def bodies(self, count: int) -> list[bytes]:
        """The bodies of the next messages."""
        frames = [self.receive() for _ in range(count)]
        assert {frame.command for frame in frames} <= {"MESSAGE"}, frames
        return [frame.body for frame in frames]

    def nothing_waits(self) -> bool:
        """Whether the broker has sent nothing before the answer to one more frame."""
        return self.ask("BEGIN", {"transaction": f"probe-{time.monotonic_ns()}"}).command == "RECEIPT"

    def read_to_end(self) -> bytes:
        """Everything until the end of the stream."""
        deadline = time.monotonic() + PATIENCE
        read = b""
        while True:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(65_536)
            if not data:
                return read
            read += data

    def ends(self) -> bool:
        """Whether the connection ends, without another frame."""
        assert self.buffer.extract_frame() is None
        return not self.read_to_end().strip(b"\n")

    def ack(self, message: Frame, command: str = "ACK", **headers: str) -> None:
        """Acknowledge, or with ``command="NACK"`` refuse, *message* in the way of the session's version."""
        if self.version == "1.2":
            said = {"id": message.headers["ack"]}
        else:
            said = {"message-id": message.headers["message-id"], "subscription": message.headers["subscription"]}
        self.send(Frame(command, said | headers))
