"""A broker with one queue, whose messages are bytes that a test has written: for what no STOMP client could send."""

from __future__ import annotations

import collections
import socket
import threading
import typing

from stomp_web.protocol import Frame, FrameBuffer, encode
from tests.client.scripted import eventually

PATIENCE = 150.0


class RawQueue:
    """Gives its messages to everybody who subscribes, until they are acknowledged; keeps what is sent to it.

    *messages* are header lines and a body each, by an id. `url` is its address; `left` are the ids of the messages that
    are not acknowledged; `sent` what was sent to each destination; `sessions` how many there were.
    """

    def __init__(self, messages: typing.Mapping[str, tuple[bytes, bytes]]) -> None:
        self._messages = dict(messages)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.left = list(messages)
        self.sent: dict[str, list[Frame]] = collections.defaultdict(list)
        self.sessions = 0
        self.url = f"stomp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, destination: str, count: int) -> list[Frame]:
        assert eventually(lambda: len(self.sent[destination]) >= count, PATIENCE), f"{dict(self.sent)}"
        return self.sent[destination]

    def wait_until_empty(self) -> None:
        assert eventually(lambda: not self.left, PATIENCE), f"{self.left} are left"

    def close(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = FrameBuffer("1.2")
        while True:
            try:
                data = connection.recv(65_536)
            except OSError:
                return
            if not data:
                return
            buffer.append(data)
            for frame in buffer:
                connection.sendall(self._answer(frame))

    def _answer(self, frame: Frame) -> bytes:
        headers = frame.headers
        answer = b""
        if frame.command in ("CONNECT", "STOMP"):
            return b"CONNECTED\nversion:1.2\nserver:RabbitMQ/3.10.8\n\n\0\n"
        if "receipt" in headers:
            answer = encode(Frame("RECEIPT", {"receipt-id": headers["receipt"]})) + b"\n"
        if frame.command == "SUBSCRIBE":
            self.sessions += 1
            answer += b"".join(self._message(headers["id"], each) for each in self.left)
        elif frame.command == "ACK" and headers["id"] in self.left:
            self.left.remove(headers["id"])
        elif frame.command == "SEND":
            self.sent[headers["destination"]].append(frame)
        return answer

    def _message(self, subscription: str, name: str) -> bytes:
        lines, body = self._messages[name]
        own = f"MESSAGE\nsubscription:{subscription}\ndestination:/queue/a\nmessage-id:{name}\nack:{name}\n"
        return b"%s%s\ncontent-length:%d\n\n%s\0\n" % (own.encode(), lines, len(body), body)
