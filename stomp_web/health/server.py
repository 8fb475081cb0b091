"""`HealthServer`: one thread that answers probes of a worker or a relay over HTTP, and updates a health file.

The thread waits for no client: its sockets do not block, each connection ends after five seconds, and the number of
clients is limited. So a slow or hostile client cannot block the answers to other probes.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
import typing
import weakref

from .._internal.log import get_logger
from .._internal.wakeup import Wakeup
from ..config import whole_number
from ..errors import StompError
from .file import HealthFile
from .probe import answer, is_complete
from .report import PATH, Report

if typing.TYPE_CHECKING:
    from typing import Self

__all__ = ["HealthServer"]

_log = get_logger("health")

_CLIENT_LIMIT = 5.0  # seconds that a client has for its request, and to read the answer
_MOST_CLIENTS = 64
_LOOK_EVERY = 1.0  # seconds between two looks at the health for the file
_END_LIMIT = 5.0  # seconds that the thread has to end
_PAUSE = 0.1  # seconds without an attempt to accept, if the system has no descriptor left

# `PollSelector` has no descriptor that a forked child would inherit. Windows has no poll.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class HealthServer:
    """Answers probes while a ``with`` block runs.

    * *report* - a function that returns the current `Report`. The server calls the function in another thread. The
      function must not wait. See `stomp_web.worker.health.WorkerHealth` and `stomp_web.outbox.health.RelayHealth`.
    * *port* - a port number for all interfaces, or a pair of a host and a port number. With port 0, the system chooses
      a free port. Without *port*, no HTTP server runs. The paths are ``/healthz``, ``/healthz/ready`` and
      ``/healthz/live``. An answer has the status 200 or 503, and the JSON text of the report.
    * *file* - the path of a file with the JSON text of the report, without details. The file is replaced when the
      report changes. While the program is live, the file's modification time is renewed every five seconds. The
      file is removed when the block ends.

    The start of the block raises `StompError` if the server cannot listen on *port*, or if *file* cannot be written.
    """

    def __init__(
        self,
        report: typing.Callable[[], Report],
        *,
        port: int | tuple[str, int] | None = None,
        file: str | None = None,
    ) -> None:
        self._report = report
        self._address = ("", port) if isinstance(port, int) else port
        if self._address is not None:
            whole_number("port", self._address[1], 0, 65_535)
        self._file = None if file is None else HealthFile(file)
        self._listener: socket.socket | None = None
        self._wakeup = Wakeup()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._look_at = 0.0  # when the health is looked at for the file
        self._failing: set[str] = set()  # what failed at the last attempt: only the first of several errors is logged

    @property
    def port(self) -> int | None:
        """The port on which the server listens, or ``None`` if the server does not listen."""
        return None if self._listener is None else int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        if self._address is None and self._file is None:
            return self
        try:
            if self._address is not None:
                self._listener = _listen(*self._address)
                _servers.add(self)
                _log.info("health checks at http://%s:%d%s", _shown(self._address[0] or "localhost"), self.port, PATH)
            if self._file is not None:
                self._file.begin(self._report())
            self._wakeup.fileno()
            self._thread = threading.Thread(target=self._run, name="stomp-health", daemon=True)
            self._thread.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wakeup.wake()
        if self._thread is not None:
            self._thread.join(_END_LIMIT)
            self._close()
            if self._file is not None:
                self._file.remove()

    def _close(self) -> None:
        _servers.discard(self)
        self.close_listener()
        self._wakeup.close()

    def close_listener(self) -> None:
        """Close the listening socket in this process."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _run(self) -> None:
        clients: dict[socket.socket, _Client] = {}
        with _Selector() as selector:
            selector.register(self._wakeup.fileno(), selectors.EVENT_READ)
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            while not self._stopping:
                try:
                    self._step(selector, clients)
                    self._failing.discard("step")
                except Exception:  # noqa: BLE001 - a bug, or no memory: the next probe needs an answer
                    if self._fails("step"):
                        _log.exception("the thread for health checks has failed, and goes on")
                    self._wakeup.wait(_PAUSE)
        for client in clients.values():
            client.close()

    def _fails(self, what: str) -> bool:
        """Record a failed action. Return true if this is the action's first failure since its last success.

        *what* is a name for the action.
        """
        first = what not in self._failing
        self._failing.add(what)
        return first

    def _update_file(self, file: HealthFile) -> None:
        self._look_at = time.monotonic() + _LOOK_EVERY
        try:
            file.update(self._report())
            self._failing.discard("file")
        except Exception:  # noqa: BLE001 - a function of the program may raise anything
            if self._fails("file"):
                _log.exception("the health of the program could not be determined for its file")

    def _step(self, selector: selectors.BaseSelector, clients: dict[socket.socket, _Client]) -> None:
        if self._file is not None and time.monotonic() >= self._look_at:
            self._update_file(self._file)
        ends = [each.deadline for each in clients.values()] + ([] if self._file is None else [self._look_at])
        for key, _ in selector.select(max(min(ends) - time.monotonic(), 0.0) if ends else None):
            if key.fileobj is self._listener:
                self._accept(selector, clients)
            elif key.data is not None and key.data.sock in clients:  # `_accept` may have closed it
                self._serve(key.data, selector, clients)
        for client in [each for each in clients.values() if each.deadline <= time.monotonic()]:
            _leave(client, selector, clients)

    def _accept(self, selector: selectors.BaseSelector, clients: dict[socket.socket, _Client]) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:  # the client has left already
            return
        except OSError as error:
            if self._fails("accept"):
                _log.warning("a health check cannot be accepted: %s", error.strerror)
            self._wakeup.wait(_PAUSE)
            return
        self._failing.discard("accept")
        sock.setblocking(False)
        if len(clients) >= _MOST_CLIENTS:
            _leave(min(clients.values(), key=lambda client: client.deadline), selector, clients)
        clients[sock] = client = _Client(sock)
        selector.register(sock, selectors.EVENT_READ, client)

    def _serve(self, client: _Client, selector: selectors.BaseSelector, clients: dict[socket.socket, _Client]) -> None:
        try:
            goes_on = client.step(self._report)
        except BlockingIOError:
            goes_on = True
        except OSError:  # the client has closed the connection
            goes_on = False
        if goes_on:
            selector.modify(client.sock, selectors.EVENT_WRITE if client.outgoing else selectors.EVENT_READ, client)
        else:
            _leave(client, selector, clients)


class _Client:
    """One connection. Reads a request, writes the answer, and then waits until the client closes the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = time.monotonic() + _CLIENT_LIMIT
        self.outgoing = b""
        self._incoming = bytearray()
        self._answered = False

    def step(self, report: typing.Callable[[], Report]) -> bool:
        """Read the request or write the answer, without waiting. Return false if the client has closed."""
        if not self.outgoing:
            data = self.sock.recv(4096)
            if not data:
                return False
            if self._answered:  # a body that was not asked for; with unread bytes, closing would destroy the answer
                return True
            self._incoming += data
            if not is_complete(self._incoming):
                return True
            self.outgoing = answer(self._incoming, report)
            self._answered = True
        self.outgoing = self.outgoing[self.sock.send(self.outgoing) :]
        if not self.outgoing:
            self.sock.shutdown(socket.SHUT_WR)
        return True

    def close(self) -> None:
        self.sock.close()


def _leave(client: _Client, selector: selectors.BaseSelector, clients: dict[socket.socket, _Client]) -> None:
    selector.unregister(client.sock)
    del clients[client.sock]
    client.close()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens and does not block. Raises `StompError` if the socket cannot listen."""
    try:
        listener = _listen_on_all(port) if not host else _listen_on(host, port)
    except OSError as error:
        where = f"{_shown(host)}:{port}" if host else f"port {port}"
        number = error.errno if error.errno is not None and not isinstance(error, socket.gaierror) else None
        problem = os.strerror(number) if number else error.strerror or str(error)
        hint = "choose another port"
        if number == errno.EADDRINUSE:
            problem, hint = "another program listens there", "choose another port, or stop that program"
        elif isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
            hint = "the host must be an address of this machine"
        raise StompError(f"health checks cannot be answered on {where}: {problem}; {hint}") from None
    listener.setblocking(False)
    return listener


def _listen_on_all(port: int) -> socket.socket:
    """Return a socket that listens on all interfaces, also with IPv6 if the system has IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=_MOST_CLIENTS, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server(("", port), backlog=_MOST_CLIENTS)


def _listen_on(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=_MOST_CLIENTS)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# A child that a handler forks would keep the port in use after this process has ended.
_servers: weakref.WeakSet[HealthServer] = weakref.WeakSet()


def _close_listeners() -> None:
    for server in list(_servers):
        server.close_listener()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_listeners)
