"""A server that does what a test's script says, byte by byte: for what no broker would do.

A script is a function that gets a `Peer`, one accepted connection, and runs in a thread of its own. What it raises -
an assertion about what the client sent, for example - is raised again when the server is closed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
import typing

from stomp_web.connection.session import Session
from stomp_web.protocol import Frame, FrameBuffer, encode

#: Seconds after which a test that waits in vain fails.
PATIENCE = 150.0

Script = typing.Callable[["Peer"], object]


def news(session: Session) -> bool:
    """Wait until something has come."""
    return session.transport.wait(PATIENCE, read=True)


def eventually(condition: typing.Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Wait until *condition* holds, and return whether it did within *timeout* seconds."""
    end = time.monotonic() + timeout
    never = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        never.wait(0.001)
    return True


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.buffer = FrameBuffer("1.2")
        self.received = b""
        self.version = "1.2"

    def frame(self) -> Frame:
        """The client's next frame. Raises `EOFError` when the client has closed."""
        while (frame := self.buffer.extract_frame()) is None:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self.received += data
            self.buffer.append(data)
        return frame

    def expect(self, command: str) -> Frame:
        """The client's next frame, which must be a *command*."""
        frame = self.frame()
        assert frame.command == command, f"{command} was expected, and {frame} came"
        return frame

    def accept(self, version: str | None = "1.2", **headers: str) -> Frame:
        """Take the CONNECT, which must come first, answer CONNECTED, and return the CONNECT."""
        frame = self.expect("CONNECT")
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if version is not None:
            said["version"] = self.version = self.buffer.version = version
        self.send(Frame("CONNECTED", said))
        return frame

    def send(self, frame: Frame) -> None:
        self.write(encode(frame, self.version))

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def dribble(self, data: bytes) -> None:
        """Send each byte in a segment of its own."""
        for byte in data:
            self.sock.sendall(bytes((byte,)))

    def receipt(self, frame: Frame) -> None:
        self.send(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))

    def error(self, message: str, body: str = "", frame: Frame | None = None) -> None:
        """Send an ERROR; with *frame*, as ActiveMQ, one that names the receipt that the frame asked for."""
        headers = {"message": message}
        if frame is not None:
            headers["receipt-id"] = frame.headers["receipt"]
        self.send(Frame("ERROR", headers, body.encode()))

    def serve(self) -> None:
        """Answer every receipt until the client leaves."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                frame = self.frame()
                if "receipt" in frame.headers:
                    self.receipt(frame)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_end(self) -> None:
        """Read until the client has closed the connection."""
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65_536):
                self.received += data


class Server:
    """Runs the first script for the first connection, and so on; the last one for all that follow."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, receive_buffer: int = 0) -> None:
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._errors: list[BaseException] = []
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'stomp' if self._tls is None else 'stomp+ssl'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(script, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, sock: socket.socket) -> None:
        try:
            with sock if self._tls is None else self._tls.wrap_socket(sock, server_side=True) as wrapped:
                script(Peer(wrapped))
        except (AssertionError, TimeoutError) as error:
            self._errors.append(error)
        except (EOFError, OSError):
            pass  # the client has left

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A thread that waits in accept() or recv() is not woken by close(), but by shutdown().
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        if kind is None and self._errors:
            raise self._errors[0]
