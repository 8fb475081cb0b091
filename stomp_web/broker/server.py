"""The public interface `Broker`. A `Broker` starts and stops the loop, and returns received messages and frames."""

from __future__ import annotations

import contextlib
import functools
import secrets
import socket
import ssl as ssl_
import threading
import time
import typing
import urllib.parse

from .._internal.signals import call_on_ctrl_c
from .._internal.version import __version__
from ..protocol import VERSIONS, Frame, encode
from .connection import Limits
from .destinations import Destinations
from .faults import Faults
from .loop import Loop
from .messages import NOT_FORWARDED, Message, read_message
from .naming import Refused, choose_naming
from .session import Settings

__all__ = ["Broker"]

_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - only compared with
_quoted = functools.partial(urllib.parse.quote, safe="")


class Broker:
    """An in-memory STOMP broker for development and tests. Do not use the broker in production.

    >>> with Broker() as broker:
    ...     broker.messages("/queue/orders")
    []

    `start` makes one thread, which serves all clients until `stop`. `serve_forever` uses the calling thread instead.

    Address:

    * *host* - the address on which the broker listens. Default: ``127.0.0.1``.
    * *port* - the port, or 0 for any free port. Default: 0. The properties `port` and `url` contain the real port.
    * *ssl* - an `ssl.SSLContext` for servers. With this argument, every client must use TLS.

    Access:

    * *login*, *passcode* - the values that CONNECT must contain. With the default ``None``, CONNECT may contain any
      login.
    * *vhosts* - the permitted values of the ``host`` header of CONNECT. A missing header counts as ``/``. The default
      ``None`` permits ``/``, ``localhost``, ``127.0.0.1``, ``::1`` and *host*. If the broker listens on all addresses,
      the default permits any name. All virtual hosts share their destinations.
    * *denied* - destinations, or patterns such as ``/queue/private/*``. No client may send or subscribe to them.
    * *versions* - the STOMP versions that the broker speaks. Default: all three.

    Behaviour:

    * *server* - the ``server`` header of CONNECTED. Default: ``stomp-web/<version>``. With ``RabbitMQ/3.10.8``,
      ``ActiveMQ/5.17.2`` or ``ActiveMQ-Artemis/2.40.0``, the broker has that product's destinations and wildcards.
      Otherwise the broker has RabbitMQ's destinations, but names may contain slashes. The broker refuses a destination
      that it cannot serve. The broker also refuses a message that RabbitMQ would confirm and drop, except a
      message to a topic.
    * *queues* - queues that exist from the start, written ``/queue/orders`` or ``orders``. Any other queue is made at
      its first use. As in RabbitMQ, ``/amq/queue/NAME`` is refused if the queue does not exist.
    * *keep_open_after_error* - whether the session stays open after most ERRORs, as with RabbitMQ and ActiveMQ. A
      refused CONNECT, an unknown command or a malformed frame always ends the session. Default: false, as the
      specification requires.
    * *heart_beat* - two times in milliseconds, as in the header ``heart-beat``. The first time is the shortest time
      between two heart-beats of the broker. The second time is the shortest time that the broker wants between two
      heart-beats of the client. 0 means no heart-beats. With the default ``(100, 100)``, the agreed times are the
      client's times, but at least 100 ms. The broker closes the connection if the client is silent for twice the
      agreed time.
    * *dead_letters* - the destination of messages that a subscriber refuses with NACK and ``requeue:false``. Default:
      ``/queue/DLQ``.

    Limits:

    * *connect_timeout* - a client must send CONNECT within this many seconds. Default: 10.
    * *linger* - a client has this many seconds to read the last frame. After that, the socket is closed. Default: 2.
    * *max_output_bytes* - how much output may wait for a client. Above this limit, the broker sends no further messages
      to the client, and reads no further frames of the client. Default: 1 MiB.
    * *max_topic_bytes* - how many bytes of a topic's messages may wait for one subscriber. Above this limit, the broker
      drops the messages that it would deliver next: the oldest messages of the highest priority. Default: 64 MiB.
    * *max_header_bytes*, *max_headers*, *max_body_bytes* - limits of a frame, as in `stomp_web.FrameBuffer`. The broker
      also refuses a SEND if its MESSAGE would exceed the default limits of stomp-web's clients.
    * *history* - `messages` remembers this many bytes of accepted messages. A message counts as the bytes of its body
      plus 1,000. Default: 512 MiB.

    After `stop` and `start`, queues and durable subscriptions still have their messages, even unacknowledged messages.
    `faults` makes the broker misbehave.
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
        if vhosts is None and host not in _ANY_ADDRESS:
            vhosts = ("/", "localhost", "127.0.0.1", "::1", host)
        spoken = tuple(versions)
        if not spoken or any(version not in VERSIONS for version in spoken):
            raise ValueError(f"versions must be some of {', '.join(VERSIONS)}, not {spoken!r}")
        try:
            naming = choose_naming(server)
            destinations = Destinations(secrets.token_hex(4), history, dead_letters, max_topic_bytes, naming, queues)
        except Refused as refused:
            raise ValueError(f"dead_letters and queues must name queues: {refused}") from None
        self._destinations, self._journal = destinations, destinations.journal
        self._settings = Settings(
            versions=tuple(sorted(set(spoken))),
            login=login,
            passcode=passcode,
            vhosts=None if vhosts is None else tuple(vhosts),
            denied=tuple(denied),
            server=server,
            heart_beat=heart_beat,
            keep_open_after_error=keep_open_after_error,
        )
        frame = {"max_header_bytes": max_header_bytes, "max_headers": max_headers, "max_body_bytes": max_body_bytes}
        limits = Limits(connect_timeout, linger, max_output_bytes, frame)
        self._loop = Loop(self._listen, ssl, self._settings, limits, self._destinations)
        self._thread: threading.Thread | None = None
        #: Makes the broker misbehave on request.
        self.faults = Faults(self._loop)

    def start(self) -> None:
        """Listen, and serve in a new thread. Do nothing if the broker is running.

        After `stop`, the broker listens on the same port again. Raises `OSError` if the address cannot be used.
        """
        if self._loop.running:
            return
        self._loop.prepare()
        self._loop.open()
        self._thread = threading.Thread(target=self._loop.run, name=f"stomp-web broker {self._port}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close all connections and the listening socket. Do nothing if the broker is not running.

        Waits at most *timeout* seconds. Clients see the end of the stream and get no ERROR, as with real brokers.
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
        """Serve in the calling thread until another thread calls `stop` or Ctrl-C is pressed. Then close everything.

        The call also returns if a signal handler raises `KeyboardInterrupt`. The call raises no exception in this case.
        To handle SIGTERM in this way, first call ``signal.signal(signal.SIGTERM, signal.default_int_handler)``.

        Raises `OSError` if the address cannot be used. Raises `RuntimeError` if the broker is running.
        """
        if self._loop.running:
            raise RuntimeError("the broker is running already; stop() it before serve_forever()")
        self._loop.prepare()
        # A KeyboardInterrupt could end the loop after any step. ask_to_stop() ends the loop between two rounds.
        with contextlib.suppress(KeyboardInterrupt), call_on_ctrl_c(self._loop.ask_to_stop):
            self._loop.open()
            self._loop.run()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port of the broker. With the argument ``port=0``, the value is 0 until the first `start`."""
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to which clients connect."""
        return ("127.0.0.1" if self._host in _ANY_ADDRESS else self._host), self._port

    @property
    def url(self) -> str:
        """The URL for clients, such as ``stomp://127.0.0.1:41234`` or ``stomp+ssl://...``.

        If the broker requires login and passcode, the URL contains the percent-encoded values. Do not log this URL.
        If the broker has no virtual host ``/``, the URL names the first of *vhosts*.
        """
        host, port = self.address
        scheme = "stomp" if self._loop.tls is None else "stomp+ssl"
        login, passcode, vhosts = self._settings.login, self._settings.passcode or "", self._settings.vhosts
        user = "" if login is None else f"{_quoted(login)}:{_quoted(passcode)}@"
        path = f"/{_quoted(vhosts[0])}" if vhosts and "/" not in vhosts else ""
        return f"{scheme}://{user}{f'[{host}]' if ':' in host else host}:{port}{path}"

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Broker {host}:{port} {'running' if self._loop.running else 'stopped'}>"

    def send(self, destination: str, body: bytes | str = b"", headers: typing.Mapping[str, str] | None = None) -> str:
        """Accept a message as if a client had sent the message. Return the ``message-id`` of the message.

        No connection is used. A *body* of type `str` makes a text message, in UTF-8 and without ``content-length``.
        *headers* are the headers of a SEND frame. `faults` and the broker's option *denied* do not apply. Raises
        `ValueError` if the broker refuses the message, or if a header has no meaning here, such as ``receipt``.
        """
        headers = dict(headers or {})
        useless = next((name for name in headers if name in NOT_FORWARDED), None)
        if useless is not None:
            raise ValueError(f"the header {useless!r} has no meaning in a message that no client sends; leave it out")
        if headers.get("reply-to", "").startswith("/temp-queue/"):
            raise ValueError("reply-to:/temp-queue/... needs a client that waits for the answer; name a queue instead")
        encode(Frame("SEND", {**headers, "destination": destination}))  # refuses headers that STOMP cannot carry
        if isinstance(body, bytes):
            headers["content-length"] = str(len(body))
        elif "\0" in body:
            raise ValueError("a text message cannot contain NUL characters; send bytes")
        data = body if isinstance(body, bytes) else body.encode()
        return self._loop.call(lambda: self._accept(destination, Frame("SEND", headers, data)))

    def _accept(self, destination: str, frame: Frame) -> str:
        with self._loop.state:
            try:
                address = self._destinations.naming.sent(destination)
                self._destinations.check(address)
                message = read_message(frame, address)
            except Refused as refused:
                raise ValueError(f"{refused.message}: {str(refused).strip()}") from None
            self._destinations.accept(message)
            self._loop.changed()
        return message.id

    def messages(self, destination: str) -> list[Frame]:
        """Return every message that *destination* has accepted, oldest first. Delivered messages are included.

        A message is a MESSAGE frame without the headers ``subscription``, ``ack`` and ``redelivered``. The broker
        accepts the messages of a transaction at COMMIT. Raises `LookupError` if the broker has forgotten some of the
        messages. The broker forgets the oldest messages if the messages of all destinations together exceed *history*.
        """
        return self._frames(self._journal.messages, self._destinations.naming.canonical(destination))

    def pending(self, destination: str) -> list[Frame]:
        """Return the messages that wait for delivery in the queue *destination*, the next one first."""
        return self._frames(self._destinations.waiting, destination)

    def unacknowledged(self, destination: str) -> list[Frame]:
        """Return the messages of *destination* that were delivered but not acknowledged.

        The highest priority comes first, and within one priority the oldest message.
        """
        return self._frames(self._destinations.unacknowledged, destination)

    def subscribers(self, destination: str) -> int:
        """Return the number of current subscriptions to *destination*."""
        name = self._destinations.naming.canonical(destination)
        with self._loop.state:  # wildcards are compared as text
            return sum(each.address.name == name for each in self._destinations.subscriptions())

    def destinations(self) -> list[str]:
        """Return all destinations for which the broker has accepted a message, even if no message is left."""
        with self._loop.state:
            return list(self._journal.accepted)

    @property
    def sessions(self) -> int:
        """The number of current sessions. A session begins with an accepted CONNECT, and either side can end it."""
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
        """The number of TCP connections that the broker has accepted since its creation."""
        return self._journal.connections_accepted

    @property
    def connects(self) -> list[Frame]:
        """The latest 1,000 CONNECT frames, oldest first. ``***`` replaces the passcode."""
        with self._loop.state:
            return list(self._journal.connects)

    def received(self, command: str) -> int:
        """Return the number of received frames with *command*, such as ``"SEND"``."""
        with self._loop.state:
            return self._journal.frames[command]

    def wait_for(self, destination: str, count: int = 1, timeout: float = 30.0) -> list[Frame]:
        """Wait until *destination* has accepted *count* messages, and return ``messages(destination)``.

        Raises `TimeoutError` after *timeout* seconds.
        """
        name = self._destinations.naming.canonical(destination)
        if not self.wait_until(lambda: self._journal.accepted[name] >= count, timeout):
            accepted = self._journal.accepted[name]
            raise TimeoutError(f"{destination!r} has accepted {accepted} of {count} messages after {timeout} seconds")
        return self.messages(destination)

    def wait_until(self, condition: typing.Callable[[], object], timeout: float = 30.0) -> bool:
        """Wait until *condition* returns true. Return false after *timeout* seconds.

        This method calls *condition* at once and after every change. *condition* may use the broker and send messages.
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
        """Forget all messages, even waiting or unacknowledged messages.

        Also delete all frames of `connects`, and set the counts of `received` to 0. The counts of connections, sessions
        and subscriptions stay.
        """
        with self._loop.state:
            self._destinations.clear()
            self._journal.clear()
            self._loop.changed()

    def _frames(self, find: typing.Callable[[str], list[Message]], destination: str) -> list[Frame]:
        with self._loop.state:
            found = find(destination)
        return [message.frame() for message in found]

    def _listen(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            # On most machines, "localhost" has two addresses. Clients that try only one of them try the IPv4 address.
            family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()  # "::" also accepts IPv4 clients
            listener = socket.create_server(address, family=family, backlog=1_024, dualstack_ipv6=both)
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]  # `create_server` adds the address
            where = f"{self._host}:{self._port}"
            raise OSError(error.errno, f"the broker cannot listen on {where}: {reason}") from None
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        return listener
