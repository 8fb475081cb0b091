"""`Page` serves a broker's page. One thread accepts connections. A new thread answers each request.

The broker's loop runs in another thread. The page locks `Loop.state` only to copy references and counts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import socketserver
import threading
import time
import typing
import weakref

from ..messages import log
from ..naming import Refused
from ..server import Broker
from .access import Access
from .choices import COMMANDS, apply, catalogue
from .feed import Feed, Kept
from .handler import Handler
from .status import Status

__all__ = ["Page", "Server"]

_MOST_VIEWERS = 16
_MOST_CONNECTIONS = 64
_running: weakref.WeakSet[Server] = weakref.WeakSet()


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The HTTP server of a `Page`. `close` ends all connections, even if browsers wait for events."""

    allow_reuse_address = os.name != "nt"  # on Windows, the option would permit two servers on one port
    request_queue_size = 64
    daemon_threads = True

    def __init__(self, page: Page, host: str, port: int) -> None:
        self.page = page
        self.access = Access(host)
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            super().__init__(address, Handler)  # type: ignore[arg-type]  # of AF_INET or AF_INET6
        except OSError as error:
            raise OSError(error.errno, f"the page cannot listen on {host}:{port}: {error.strerror}") from None
        _running.add(self)

    def process_request(self, request: typing.Any, client_address: typing.Any) -> None:
        """Answer the request in a new thread. If too many connections are open, close the new connection instead."""
        with self._changed:
            full = len(self._open) >= _MOST_CONNECTIONS
            if not full:
                self._open.add(request)
        if full:
            log.warning("page: more than %d connections; one was closed", _MOST_CONNECTIONS)
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: typing.Any, client_address: typing.Any) -> None:
        """Answer the request, and then forget the connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def handle_error(self, request: typing.Any, client_address: typing.Any) -> None:
        """Log the exception that ended a request. The cause is a bug of the page."""
        log.exception("page: an error of the page")

    def close(self, timeout: float) -> None:
        """Stop listening, end all connections, and wait at most *timeout* seconds for their threads."""
        self.shutdown()
        self.server_close()
        end = time.monotonic() + timeout
        with self._changed:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
            while self._open and (rest := end - time.monotonic()) > 0:
                self._changed.wait(rest)


class Page:
    """The web page of *broker*. A `Page` is also a context manager.

    The page can be opened after `start` and before `stop`.

    * *host* - the address on which the page listens. With the default ``127.0.0.1``, only this machine can open the
      page. The page has no login. With another address, each user who can connect to that address can read messages,
      send messages and switch on faults.
    * *port* - the port, or 0 for any free port. Default: 0. See `url`.
    * *messages* - how many messages the page keeps at most. Default: 500. The page keeps the latest messages, but no
      messages from the time before the page was made.
    * *max_body* - how many bytes of each body the page keeps. Default: 65,536.

    Raises `ValueError` if *messages* or *max_body* is less than 1.
    """

    def __init__(
        self, broker: Broker, host: str = "127.0.0.1", port: int = 0, *, messages: int = 500, max_body: int = 65_536
    ) -> None:
        if messages < 1 or max_body < 1:
            raise ValueError("messages and max_body must be at least 1")
        self.broker = broker
        #: Distinguishes this page from one on the same port before it: numbers of messages begin at 1 again.
        self.run = secrets.token_hex(4)
        #: Set when the streams must end.
        self.stopping = threading.Event()
        #: How often `forget` was called.
        self.forgotten = 0
        self._host, self._port = host, port
        self._limits = {"messages": messages, "body": max_body}
        self._loop = broker._loop
        self.status = Status(self._loop)
        self._feed = Feed(messages, max_body)
        self._viewers = threading.Semaphore(_MOST_VIEWERS)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        with self._loop.state:
            self._loop.destinations.journal.watchers.append(self._feed.add)

    def start(self) -> None:
        """Listen, and serve the page in threads. Do nothing if the page is already served.

        Raises `OSError` if the page cannot listen.
        """
        if self._server is not None:
            return
        self._server = Server(self, self._host, self._port)
        self._port = self._server.server_address[1]
        self.stopping.clear()
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name=f"stomp-web page {self._port}"
        )
        self._thread.daemon = True
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End all connections, and stop listening. Do nothing if the page is not served.

        Waits at most *timeout* seconds for the threads of the page. The page keeps its messages for the next `start`.
        """
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is not None and thread is not None:
            self.stopping.set()
            server.close(timeout)
            thread.join(timeout)

    def __enter__(self) -> Page:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port of the page. With the argument ``port=0``, the value is 0 until the first `start`."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the page, such as ``http://127.0.0.1:8161/``."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    def __repr__(self) -> str:
        return f"<Page {self.url} of {self.broker!r}>"

    # -- for the threads that answer ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def viewer(self) -> typing.Iterator[bool]:
        """Count one more open stream during the ``with`` block. Yield false if too many streams are open already."""
        admitted = self._viewers.acquire(blocking=False)
        try:
            yield admitted
        finally:
            if admitted:
                self._viewers.release()

    def facts(self) -> dict[str, typing.Any]:
        """Return the facts that do not change while the page is served, such as the broker's address."""
        host, port = self.broker.address
        settings = self._loop.settings
        return {
            "run": self.run,
            "address": f"{'stomp' if self._loop.tls is None else 'stomp+ssl'}://{host}:{port}",
            "server": settings.server,
            "limits": self._limits,
            "faults": catalogue(),
            "commands": COMMANDS,
        }

    def after(self, number: int, limit: int) -> list[Kept]:
        """Return the kept messages after the message *number*, oldest first, but at most *limit* messages."""
        with self._loop.state:
            return self._feed.after(number, limit)

    def find(self, number: int) -> Kept | None:
        """Return the message with the number *number*, or ``None`` if that message is not kept."""
        with self._loop.state:
            return self._feed.find(number)

    def selector(self, destination: str) -> typing.Callable[[str], bool]:
        """Return a function that says whether a destination matches *destination*, which may have wildcards."""
        naming = self._loop.destinations.naming
        try:
            address = naming.subscribed(destination)
        except Refused:
            return destination.__eq__
        if not address.pattern:
            return address.name.__eq__
        return lambda name: name.startswith("/topic/") and naming.matches(address.route, name.removeprefix("/topic/"))

    def forget(self) -> None:
        """Drop all messages of the broker and of the page."""
        with self._loop.state:
            self.broker.clear()
            self._feed.clear()
            self.forgotten += 1

    def apply_fault(self, given: dict[str, typing.Any]) -> str:
        """Switch on a fault, and return a text that says so. *given* has the ``name`` of the fault, and its parameters.

        Raises `ValueError` if *given* is wrong, or if the broker does not run.
        """
        if not self._loop.running:
            raise ValueError("the broker does not run")
        return f"Done: {apply(self.broker.faults, given)}."

    def cancel_fault(self, number: object) -> None:
        """Switch off the fault with the id *number*. If the fault is over, do nothing.

        The page's status shows the ids of the faults.
        """
        for fault in self._loop.rules.active():
            if id(fault) == number:
                fault.cancel()


def _abandon_all() -> None:
    for server in list(_running):
        server.page._server = server.page._thread = None
        server.socket.close()


if hasattr(os, "register_at_fork"):
    # Otherwise a forked child would keep the port, and the browser's connections, when the parent has ended.
    os.register_at_fork(after_in_child=_abandon_all)
