"""A relay between the processes of a family and their broker, which sees what each connection carries.

It hands bytes on and knows nothing of STOMP or TLS. So one count tells of a DISCONNECT and of a close-notify alike.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import stat
import threading
from pathlib import Path

#: Seconds after which a test that waits in vain fails.
PATIENCE = 60.0


class Link:
    """One connection: how many `bytes` the client has sent, and whether it `ended` it, by whatever means."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ended = False


class Wire:
    """Listens on `port` of 127.0.0.1 and hands all to *target*; `links` are the connections in their order."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.links: list[Link] = []
        self._changed = threading.Condition()
        self._waker, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    @property
    def open(self) -> int:
        """How many connections their clients have not ended."""
        return sum(not link.ended for link in self.links)

    def wait_until(self, condition, timeout: float = PATIENCE) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(condition, timeout))

    def close(self) -> None:
        self._wake.send(b"\0")
        self._thread.join(120)
        self._wake.close()

    def connections(self) -> set[int]:
        """The sockets of this process that are connected to the wire, as `connections_to` tells them."""
        return connections_to(self.port)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            stack.enter_context(self._listener)
            stack.enter_context(self._waker)
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        return
                    with self._changed:
                        if key.fileobj is self._listener:
                            self._accept(selector, stack)
                        elif key.fileobj.fileno() >= 0:  # its partner may have ended in this very round
                            self._relay(selector, key.fileobj, *key.data)
                        self._changed.notify_all()

    def _accept(self, selector: selectors.BaseSelector, stack: contextlib.ExitStack) -> None:
        client = stack.enter_context(self._listener.accept()[0])
        broker = stack.enter_context(socket.create_connection(self._target, PATIENCE))
        link = Link()
        self.links.append(link)
        selector.register(client, selectors.EVENT_READ, (broker, link, True))
        selector.register(broker, selectors.EVENT_READ, (client, link, False))

    def _relay(
        self, selector: selectors.BaseSelector, source: socket.socket, target: socket.socket, link: Link, up: bool
    ) -> None:
        try:
            data = source.recv(65_536)
            if up:
                link.bytes += len(data)
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            link.ended = link.ended or up
            for each in (source, target):
                selector.unregister(each)
                # Children may have inherited these, too: closing them here would not end the connection.
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


def connections_to(port: int) -> set[int]:
    """The sockets of this process that are connected to *port*: the number of each in the whole system.

    A forked child has its parent's sockets under the same numbers, unless it has closed its descriptors of them.
    """
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        with contextlib.suppress(OSError):
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as copy:
                    if copy.family == socket.AF_INET and copy.getpeername()[1] == port:
                        found.add(status.st_ino)
    return found


def has_proc() -> bool:
    return Path("/proc/self/fd").is_dir()
