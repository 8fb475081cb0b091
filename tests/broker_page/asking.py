"""Asks the page over HTTP, as a browser does: `get`, `post`, and `Stream` for server-sent events."""

from __future__ import annotations

import http.client
import json
import socket
import typing

from stomp_web.broker.page import Page

#: Seconds after which a test that waits in vain fails.
PATIENCE = 150.0


class Answer(typing.NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> typing.Any:
        return json.loads(self.body)


def ask(page: Page, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answer:
    """Header names have `_` for `-`; None leaves out a header that `http.client` would send."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE)
    try:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in said, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in said:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in said.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def get(page: Page, path: str, **headers: str | None) -> Answer:
    return ask(page, "GET", path, **headers)


def post(page: Page, path: str, value: typing.Any, **headers: str | None) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ask(page, "POST", path, body, **{"Content_Type": "application/json", **headers})


def done(page: Page, path: str, value: typing.Any) -> str:
    """POST, and return what was done."""
    answer = post(page, path, value)
    assert answer.status == 200, answer
    return str(answer.json["done"])


class Event(typing.NamedTuple):
    name: str
    id: str
    data: typing.Any


class Stream:
    """The events of a page, read from a socket. Reading does not begin before `next` is called."""

    def __init__(self, page: Page, query: str = "", last: str = "", receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(PATIENCE)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(("127.0.0.1", page.port))
        head = f"Last-Event-ID: {last}\r\n" if last else ""
        self.sock.sendall(f"GET /events{query} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n{head}\r\n".encode())
        self.lines = self.sock.makefile("rb")
        try:
            self.status = int((self.lines.readline().split() or [b"", b"0"])[1])  # 0: closed without an answer
            while self.lines.readline().strip():
                pass
        except OSError:
            self.__exit__()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.lines.close()
        self.sock.close()

    def next(self, name: str | None = None) -> Event:
        """The next event, or the next one with this *name*. Raises `EOFError` at the end of the stream."""
        while True:
            fields: dict[str, str] = {}
            while line := self.lines.readline().decode().rstrip("\n"):
                key, _, value = line.partition(":")
                fields[key] = value.removeprefix(" ")
            if not fields:
                raise EOFError
            if "data" in fields and name in (None, fields["event"]):
                return Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))

    def messages(self, count: int) -> list[typing.Any]:
        """The data of the next messages."""
        return [self.next("message").data for _ in range(count)]

    def state_with(self, condition: typing.Callable[[typing.Any], object]) -> typing.Any:
        """The next state for which *condition* is true."""
        while True:
            state = self.next("state").data
            if condition(state):
                return state
