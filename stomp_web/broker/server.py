"""`Broker`, the public interface: starts and stops the loop, and returns what the broker has received."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
import typing
import urllib.parse

from .._internal.signals import call_on_ctrl_c
from .._internal.version import __version__
from ..protocol import VERSIONS, Frame
from .connection import Limits
from .destinations import Destinations
from .faults import Faults
from .loop import Loop
from .messages import Journal, Message
from .naming import Refused, choose_naming
from .rules import FaultRules
from .session import Settings

if typing.TYPE_CHECKING:
    import ssl as ssl_

__all__ = ["Broker"]

_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - only compared with


class Broker:
    """A STOMP broker in memory, for development and tests. It is not for production.

    >>> with Broker() as broker:
    ...     broker.messages("/queue/orders")
    []

    One thread serves all clients, from `start` to `stop`; `serve_forever` serves in the calling thread instead.

    Address:

    * *host* - default ``127.0.0.1``. *port* - default 0, which takes a free port. See `port` and `url`.
    * *ssl* - an `ssl.SSLContext` for servers; then every client has to use TLS.

    Access:

    * *login*, *passcode* - required in CONNECT. Default ``None``: every client may connect, with any login.
    * *vhosts* - the names that the ``host`` header of CONNECT may have; a missing header counts as ``/``.
      Default ``None``: ``/``, ``localhost``, ``127.0.0.1``, ``::1`` and *host*, and any name if the broker listens on
      all addresses. All virtual hosts share the same destinations.
    * *denied* - destinations, or patterns such as ``/queue/private/*``, to which no client may send or subscribe.
    * *versions* - the STOMP versions that it speaks.

    Behaviour:

    * *server* - the ``server`` header of CONNECTED. Default ``stomp-web/<version>``. With ``RabbitMQ/3.10.8`` or
      ``ActiveMQ/5.17.2`` it imitates that product: its destinations, and its wildcards in topics. Otherwise
      destinations are RabbitMQ's, but names may contain slashes. A destination that this broker cannot serve is
      refused, and so is a message that RabbitMQ would confirm and drop.
    * *queues* - queues that exist from the start, written ``/queue/orders`` or ``orders``. Other queues are made when
      they are used, except ``/amq/queue/NAME``, which has to exist before, as in RabbitMQ.
    * *keep_open_after_error* - whether ERROR leaves the session open, as in RabbitMQ and ActiveMQ after most errors.
      Default false, which is what the specification says.
    * *heart_beat* - ``(can send, wants)`` in milliseconds: the shortest times between two heart-beats, 0 for never.
      Default ``(100, 100)``: as often as the client asks for, but at most every 100 ms. A client that is silent for
      twice its time is disconnected.
    * *dead_letters* - the destination of messages that a subscriber refuses with NACK and ``requeue:false``.

    Limits of one client:

    * *connect_timeout* - seconds within which it must send CONNECT. Default 10.
    * *linger* - seconds for reading the last frame before the socket is closed. Default 2.
    * *max_output_bytes* - if more output waits for a client, it gets no more messages, and its frames are not read,
      until it reads. Default 1 MiB.
    * *max_topic_bytes* - bytes of a topic's messages that wait for one subscriber; beyond this limit, the oldest are
      dropped. Default 64 MiB.
    * *max_header_bytes*, *max_headers*, *max_body_bytes* - limits of a frame, as in `stomp_web.FrameBuffer`. A SEND
      whose MESSAGE would exceed the default limits of stomp-web's clients is refused, too.
    * *history* - bytes of accepted messages that `messages` remembers: bodies, and about 1,000 bytes for each message.
      Default 512 MiB.

    All messages, also unacknowledged ones, survive `stop` and `start`. `faults` makes the broker misbehave.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        login: str | None = None,
        passcode: str | None = None,
        vhosts: typing.Iterable[str] | None = None,
        ssl: ssl_.SSLContext | None = None,
        versions: typing.Iterable[str] = VERSIONS,
        denied: typing.Iterable[str] = (),
        server: str = f"stomp-web/{__version__}",
        keep_open_after_error: bool = False,
        heart_beat: tuple[int, int] = (100, 100),
        dead_letters: str = "/queue/DLQ",
        queues: typing.Iterable[str] = (),
        connect_timeout: float = 10.0,
        linger: float = 2.0,
        max_output_bytes: int = 1_048_576,
        max_topic_bytes: int = 67_108_864,
        max_header_bytes: int = 65_536,
        max_headers: int = 1_000,
        max_body_bytes: int = 134_217_728,
        history: int = 536_870_912,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = ssl
        self._vhosts = None if vhosts is None else tuple(vhosts)
        spoken = tuple(versions)
        if not spoken or any(version not in VERSIONS for version in spoken):
            raise ValueError(f"versions must be some of {', '.join(VERSIONS)}, not {spoken!r}")
        self._journal = Journal(history)
        try:
            self._destinations = Destinations(
                self._journal,
                name=secrets.token_hex(4),
                dead_letters=dead_letters,
                topic_limit=max_topic_bytes,
                naming=choose_naming(server),
                declared=queues,
            )
        except Refused as refused:
            raise ValueError(f"dead_letters and queues must name queues: {refused}") from None
        self._settings = Settings(
            versions=tuple(sorted(set(spoken))),
            login=login,
            passcode=passcode,
            vhosts=self._known_vhosts(),
            denied=tuple(denied),
            server=server,
            heart_beat=heart_beat,
            keep_open_after_error=keep_open_after_error,
        )
        limits = Limits(connect_timeout, linger, max_output_bytes, max_header_bytes, max_headers, max_body_bytes)
        rules = FaultRules()
        self._loop = Loop(
            listen=self._listen,
            tls=ssl,
            settings=self._settings,
            limits=limits,
            destinations=self._destinations,
            journal=self._journal,
            rules=rules,
        )
        self._thread: threading.Thread | None = None
        #: Makes the broker misbehave on request.
        self.faults = Faults(rules, self._loop)

    def start(self) -> None:
        """Listen, and serve in a new thread. Does nothing if the broker is running.

        After a `stop` it listens on the same port again. Raises `OSError` if the address cannot be used.
        """
        if self._loop.running:
            return
        self._loop.open()
        self._thread = threading.Thread(target=self._loop.run, name=f"stomp-web broker {self._port}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close all connections and the listening socket. Does nothing if the broker is not running.

        Waits *timeout* seconds at most. Clients see the end of the stream, without an ERROR, as with real brokers.
        """
        if not self._loop.running:
            return
        self._loop.ask_to_stop()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None
        else:
            self.wait_until(lambda: not self._loop.running, timeout)

    def serve_forever(self) -> None:
        """Serve in the calling thread until `stop` is called elsewhere or Ctrl-C is pressed; then close everything.

        It also ends, without an exception, when a signal handler raises `KeyboardInterrupt`; SIGTERM does so
        after ``signal.signal(signal.SIGTERM, signal.default_int_handler)``.

        Raises `OSError` if the address cannot be used, `RuntimeError` if the broker is running.
        """
        if self._loop.running:
            raise RuntimeError("the broker is running already; stop() it before serve_forever()")
        self._loop.open()
        # A KeyboardInterrupt could break the loop between any two steps; ask_to_stop() ends it between two rounds.
        with contextlib.suppress(KeyboardInterrupt), call_on_ctrl_c(self._loop.ask_to_stop):
            self._loop.run()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port; 0 before the first `start` of a broker with port 0."""
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return ("127.0.0.1" if self._host in _ANY_ADDRESS else self._host), self._port

    @property
    def url(self) -> str:
        """The address for clients: ``stomp://127.0.0.1:41234``, or ``stomp+ssl://...``.

        If the broker requires a login and a passcode, the URL contains them, percent-encoded: do not log it then. If
        the broker has no virtual host ``/``, the URL names another one.
        """
        host, port = self.address
        scheme = "stomp" if self._tls is None else "stomp+ssl"
        login, passcode = self._settings.login, self._settings.passcode or ""
        user = "" if login is None else f"{_quoted(login)}:{_quoted(passcode)}@"
        path = f"/{_quoted(self._vhosts[0])}" if self._vhosts and "/" not in self._vhosts else ""
        return f"{scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}{path}"

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Broker {host}:{port} {'running' if self._loop.running else 'stopped'}>"

    def messages(self, destination: str) -> list[Frame]:
        """Return every message that was accepted for *destination*, in order, whether delivered or not.

        Each is the MESSAGE frame that a subscriber gets, without the headers of one subscription (``subscription``,
        ``ack``, ``redelivered``). A message in a transaction counts after the COMMIT.

        Raises `LookupError` if some of them are forgotten because they exceeded the broker's *history*.
        """
        return self._frames(self._journal.messages, self._destinations.naming.canonical(destination))

    def pending(self, destination: str) -> list[Frame]:
        """Return the messages that wait in the queue *destination* and were not delivered, in order."""
        return self._frames(self._destinations.waiting, destination)

    def unacknowledged(self, destination: str) -> list[Frame]:
        """Return the messages of *destination* that were delivered and not acknowledged, in order."""
        return self._frames(self._destinations.unacknowledged, destination)

    def subscribers(self, destination: str) -> int:
        """Return the number of current subscriptions to *destination*."""
        with self._loop.state:
            return len(self._destinations.subscriptions(destination))

    def destinations(self) -> list[str]:
        """Return the destinations that have accepted a message."""
        with self._loop.state:
            return self._journal.destinations()

    @property
    def sessions(self) -> int:
        """The number of current sessions: CONNECT was accepted, and neither side has ended the session."""
        with self._loop.state:
            live = (connection.session for connection in self._loop.connections.values())
            return sum(session.connected and not session.ended for session in live)

    @property
    def connections(self) -> int:
        """The number of open TCP connections, with or without a session."""
        with self._loop.state:
            return len(self._loop.connections)

    @property
    def connections_accepted(self) -> int:
        """The number of TCP connections accepted since the broker was made."""
        return self._journal.connections_accepted

    @property
    def connects(self) -> list[Frame]:
        """The latest 1,000 CONNECT frames, in order, with ``***`` for the passcode."""
        with self._loop.state:
            return list(self._journal.connects)

    def received(self, command: str) -> int:
        """Return the number of received frames with *command*, such as ``"SEND"``."""
        with self._loop.state:
            return self._journal.frames[command]

    def wait_for(self, destination: str, count: int = 1, timeout: float = 30.0) -> list[Frame]:
        """Wait until *destination* has accepted *count* messages, and return its `messages`.

        Raises `TimeoutError` after *timeout* seconds.
        """
        name = self._destinations.naming.canonical(destination)
        if not self.wait_until(lambda: self._journal.accepted[name] >= count, timeout):
            accepted = self._journal.accepted[name]
            raise TimeoutError(f"{destination!r} has accepted {accepted} of {count} messages after {timeout} seconds")
        return self.messages(destination)

    def wait_until(self, condition: typing.Callable[[], object], timeout: float = 30.0) -> bool:
        """Wait until *condition* returns true; it is called after each change at the broker.

        Returns false after *timeout* seconds. *condition* may use the broker and send messages.
        """
        loop, end = self._loop, time.monotonic() + timeout
        while True:
            changes = loop.changes
            if condition():
                return True
            with loop.state:
                while loop.changes == changes and (rest := end - time.monotonic()) > 0:
                    loop.state.wait(rest)
            if time.monotonic() >= end:
                return bool(condition())

    def clear(self) -> None:
        """Forget all messages, also waiting and unacknowledged ones, and all counts except `connections_accepted`."""
        with self._loop.state:
            self._destinations.clear()
            self._journal.clear()
            self._loop.changed()

    def _frames(self, find: typing.Callable[[str], list[Message]], destination: str) -> list[Frame]:
        with self._loop.state:
            found = find(destination)
        return [message.frame() for message in found]

    def _listen(self) -> socket.socket:
        listener = None
        try:
            found = socket.getaddrinfo(self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            # "localhost" has two addresses on most machines; clients that try only one try the IPv4 address.
            family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1_024)
        except OSError as error:
            if listener is not None:
                listener.close()
            where = f"{self._host}:{self._port}"
            raise OSError(error.errno, f"the broker cannot listen on {where}: {error.strerror}") from None
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        return listener

    def _known_vhosts(self) -> frozenset[str] | None:
        if self._vhosts is not None:
            return frozenset(self._vhosts)
        if self._host in _ANY_ADDRESS:
            return None
        return frozenset(("/", "localhost", "127.0.0.1", "::1", self._host))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
