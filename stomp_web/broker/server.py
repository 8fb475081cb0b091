"""`Broker`: what a user of the broker holds. It starts and stops the loop, and looks at what happened."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import time
import typing
import urllib.parse

from .._internal.version import __version__
from ..protocol import VERSIONS, Frame
from .connection import Limits
from .destinations import Destinations
from .faults import Faults
from .journal import Journal
from .loop import Loop
from .messages import Refused
from .naming import choose_naming
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

    It speaks STOMP 1.0, 1.1 and 1.2 over TCP, and over TLS if it is given a context. One thread of its own serves all
    clients, from `start` to `stop`; `serve_forever` serves in the calling thread instead.

    Where it listens:

    * *host*, *port* - the address. Default ``127.0.0.1`` and a free port, which `port` and `url` tell.
    * *ssl* - an `ssl.SSLContext` for servers; then every client has to speak TLS.

    Who may do what:

    * *login*, *passcode* - what CONNECT has to say. Default ``None``: anybody may connect, whatever he says.
    * *vhosts* - the names that the ``host`` header of CONNECT may have; a missing one counts as ``/``. Default
      ``None``: ``/``, ``localhost``, ``127.0.0.1``, ``::1`` and *host*, and on a broker that listens on all
      addresses any name. All virtual hosts share the same destinations.
    * *denied* - destinations, or patterns of them such as ``/queue/private/*``, to which nobody may send or subscribe.
    * *versions* - the STOMP versions that are spoken.

    How it behaves:

    * *server* - the ``server`` header of CONNECTED. Default ``stomp-web/<version>``; with ``RabbitMQ/3.10.8`` or
      ``ActiveMQ/5.17.2`` a client takes it for that broker, and its destinations, wildcards in topics included, are
      those of that broker. Otherwise they are RabbitMQ's, but names may have slashes. A destination that it cannot
      serve is refused, and so is a message that RabbitMQ would confirm and drop.
    * *queues* - queues that exist from the start, as ``/queue/orders`` or ``orders``. Others come into being when they
      are used, but for ``/amq/queue/NAME``, which as at RabbitMQ has to exist.
    * *keep_open_after_error* - ERROR does not end the session, as with RabbitMQ and ActiveMQ, which keep the connection
      open after most errors. Default false, which is what the specification says.
    * *heart_beat* - ``(can send, wants)`` in milliseconds: the shortest times between two heart-beats, 0 for never.
      Default ``(100, 100)``: whatever the client asks for, but not more often than that. A client that is silent for
      twice its time is disconnected.
    * *dead_letters* - where messages go that a subscriber refuses with NACK and ``requeue:false``.

    What one client may cost:

    * *connect_timeout* - seconds until it must have sent CONNECT. Default 10.
    * *linger* - seconds that it has for reading the last frame before the socket is closed. Default 2.
    * *max_output_bytes* - a client for which more waits gets no more messages, and is not listened to, until it
      reads. Default 1 MiB.
    * *max_topic_bytes* - of messages to a topic that wait for one subscriber; beyond it the oldest are dropped.
      Default 64 MiB.
    * *max_header_bytes*, *max_headers*, *max_body_bytes* - limits of a frame, as in `stomp_web.FrameBuffer`. A SEND
      whose MESSAGE would exceed what the receiving clients of stomp-web take by default is refused, too.
    * *history* - bytes of accepted messages that `messages` remembers: bodies, and about 1,000 bytes for each message.
      Default 512 MiB.

    Messages stay over `stop` and `start`, unacknowledged ones included. `faults` orders misbehaviour.
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
        self._login = login
        self._passcode = passcode
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
        settings = Settings(
            versions=tuple(sorted(set(spoken))),
            login=login,
            passcode=passcode,
            vhosts=self._known_vhosts(),
            denied=tuple(denied),
            server=server,
            heart_beat=heart_beat,
            keep_open_after_error=keep_open_after_error,
        )
        limits = Limits(
            connect_timeout=connect_timeout,
            linger=linger,
            max_output_bytes=max_output_bytes,
            max_header_bytes=max_header_bytes,
            max_headers=max_headers,
            max_body_bytes=max_body_bytes,
        )
        rules = FaultRules()
        self._loop = Loop(
            listen=self._listen,
            tls=ssl,
            settings=settings,
            limits=limits,
            destinations=self._destinations,
            journal=self._journal,
            rules=rules,
        )
        self._thread: threading.Thread | None = None
        #: What the broker is to do wrong, on request.
        self.faults = Faults(rules, self._loop)

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and serve in a thread of its own. Does nothing if it is started already.

        After a `stop` it listens on the same port again. Raises `OSError` if the address cannot be used.
        """
        if self._loop.running:
            return
        self._loop.open()
        self._thread = threading.Thread(target=self._loop.run, name=f"stomp-web broker {self._port}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close all connections and the listening socket. Does nothing if it is stopped already.

        Waits *timeout* seconds at most. The clients see the end of the stream; no ERROR is sent, as by the brokers.
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

        It ends as well, and without an exception, when a signal handler raises `KeyboardInterrupt`, as SIGTERM does
        after ``signal.signal(signal.SIGTERM, signal.default_int_handler)``.

        Raises `OSError` if the address cannot be used, `RuntimeError` if the broker is started already.
        """
        if self._loop.running:
            raise RuntimeError("the broker is started already; stop() it first, or do without serve_forever()")
        self._loop.open()
        # A KeyboardInterrupt could break the loop between any two steps; asked to stop, it ends between two rounds.
        interrupting = [
            number
            for number in (signal.SIGINT, signal.SIGTERM)
            if threading.current_thread() is threading.main_thread()
            and signal.getsignal(number) is signal.default_int_handler
        ]
        for number in interrupting:
            signal.signal(number, lambda *_: self._loop.ask_to_stop())
        try:
            self._loop.run()
        except KeyboardInterrupt:  # raised by a handler of somebody else
            return
        finally:
            for number in interrupting:
                signal.signal(number, signal.default_int_handler)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- where it is ------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port. Before the first `start` of a broker with port 0: 0."""
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return ("127.0.0.1" if self._host in _ANY_ADDRESS else self._host), self._port

    @property
    def url(self) -> str:
        """The address for a client: ``stomp://127.0.0.1:41234``, or ``stomp+ssl://...``.

        It has the login and the passcode, percent-encoded, if the broker demands them, and a virtual host if ``/`` is
        none of the broker's: it can be used as it is. Do not log it then.
        """
        host, port = self.address
        scheme = "stomp" if self._tls is None else "stomp+ssl"
        user = ""
        if self._login is not None:
            user = f"{_quoted(self._login)}:{_quoted(self._passcode or '')}@"
        path = ""
        if self._vhosts and "/" not in self._vhosts:
            path = f"/{_quoted(self._vhosts[0])}"
        return f"{scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}{path}"

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Broker {host}:{port} {'running' if self._loop.running else 'stopped'}>"

    # -- what happened ----------------------------------------------------------------------------------------

    def messages(self, destination: str) -> list[Frame]:
        """Return every message that was accepted for *destination*, in order, delivered or not, queue or topic.

        Each is the MESSAGE frame that a subscriber gets, without the headers that belong to one subscription
        (``subscription``, ``ack``, ``redelivered``). A message in a transaction counts after the COMMIT.

        Raises `LookupError` if some of them are forgotten because they exceeded the broker's *history*.
        """
        with self._loop.state:
            found = self._journal.messages(self._destinations.naming.canonical(destination))
        return [message.frame() for message in found]

    def pending(self, destination: str) -> list[Frame]:
        """Return the messages that wait in the queue *destination* and were not given to anybody, in order."""
        with self._loop.state:
            found = self._destinations.waiting(destination)
        return [message.frame() for message in found]

    def unacknowledged(self, destination: str) -> list[Frame]:
        """Return the messages of *destination* that a subscriber has and did not acknowledge yet."""
        with self._loop.state:
            found = self._destinations.unacknowledged(destination)
        return [message.frame() for message in found]

    def subscribers(self, destination: str) -> int:
        """Return how many subscriptions to *destination* there are now."""
        with self._loop.state:
            return len(self._destinations.subscriptions(destination))

    def destinations(self) -> list[str]:
        """Return the destinations that have accepted a message."""
        with self._loop.state:
            return self._journal.destinations()

    @property
    def sessions(self) -> int:
        """How many clients are connected now: CONNECT accepted, and neither side has ended the session."""
        with self._loop.state:
            live = (connection.session for connection in self._loop.connections.values())
            return sum(session.connected and not session.ended for session in live)

    @property
    def connections(self) -> int:
        """How many TCP connections are open now, with a session or without."""
        with self._loop.state:
            return len(self._loop.connections)

    @property
    def connections_accepted(self) -> int:
        """How many TCP connections were accepted since the broker was made."""
        return self._journal.connections_accepted

    @property
    def connects(self) -> list[Frame]:
        """The latest 1,000 CONNECT frames, in order, with ``***`` for the passcode."""
        with self._loop.state:
            return list(self._journal.connects)

    def received(self, command: str) -> int:
        """Return how many frames with *command*, such as ``"SEND"``, clients have sent."""
        with self._loop.state:
            return self._journal.frames[command]

    def wait_for(self, destination: str, count: int = 1, timeout: float = 30.0) -> list[Frame]:
        """Wait until *destination* has accepted *count* messages, and return `messages` of it.

        Raises `TimeoutError` after *timeout* seconds.
        """
        name = self._destinations.naming.canonical(destination)
        if not self.wait_until(lambda: self._journal.accepted[name] >= count, timeout):
            accepted = self._journal.accepted[name]
            raise TimeoutError(f"{destination!r} has accepted {accepted} of {count} messages after {timeout} seconds")
        return self.messages(destination)

    def wait_until(self, condition: typing.Callable[[], object], timeout: float = 30.0) -> bool:
        """Wait until *condition* returns true; it is asked after each thing that happens at the broker.

        Returns false after *timeout* seconds. The broker goes on while *condition* is asked, which may use everything
        here, and send messages.
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
        """Forget all messages, waiting, unacknowledged or remembered, and all counts but `connections_accepted`."""
        with self._loop.state:
            self._destinations.clear()
            self._journal.clear()
            self._loop.changed()

    # -- how it listens ---------------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise self._cannot_listen(error) from None
        # "localhost" has two addresses on most machines; clients that try one only try the older.
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1_024)
        except OSError as error:
            listener.close()
            raise self._cannot_listen(error) from None
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        return listener

    def _cannot_listen(self, error: OSError) -> OSError:
        return OSError(error.errno, f"the broker cannot listen on {self._host}:{self._port}: {error.strerror}")

    def _known_vhosts(self) -> frozenset[str] | None:
        if self._vhosts is not None:
            return frozenset(self._vhosts)
        if self._host in _ANY_ADDRESS:
            return None
        return frozenset(("/", "localhost", "127.0.0.1", "::1", self._host))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
