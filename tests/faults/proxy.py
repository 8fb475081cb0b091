"""A TCP proxy between a client and a broker that does to the bytes what a test says.

Rules of this room:

* One thread serves all connections. Only it touches a socket; whoever wants something hands a function to `_call`, and
  returns when it was done. So a fault that was ordered is in force when the method returns.
* A byte goes one of two ways: `UP`, to the broker, or `DOWN`, to the client. Most faults concern one way.
* Nothing here sleeps, and no wait is without a limit.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import selectors
import socket
import struct
import threading
import time
import typing

from stomp_web import ProtocolError
from stomp_web.protocol import FrameBuffer
from tests.brokers.ports import own_port

__all__ = ["DOWN", "UP", "Proxy", "Trap", "Way"]

Way = typing.Literal["up", "down"]
UP: typing.Final = "up"
DOWN: typing.Final = "down"
WAYS: tuple[Way, ...] = (UP, DOWN)

Deed = typing.Literal["cut", "reset", "freeze", "swallow"]
Welcome = typing.Literal["pass", "mute", "cut", "reset"]

#: Seconds after which a test that waits in vain fails.
PATIENCE = 150.0

_CHUNK = 65_536
_T = typing.TypeVar("_T")


@dataclasses.dataclass(eq=False)
class Trap:
    """A fault that waits for a frame or for a number of bytes. `fired` tells how often it has happened."""

    way: Way
    deed: Deed
    command: str | None = None
    """The command of the frame that it waits for."""
    count: int | None = None
    """Of one connection, the number of bytes after which it happens."""
    forward: bool = True
    """The frame that it waited for still passes."""
    after: int = 0
    """How many such frames pass unharmed before."""
    times: int | None = 1
    fired: int = 0

    @property
    def set(self) -> bool:
        return self.times is None or self.fired < self.times


class Proxy:
    """Listens on `port` of 127.0.0.1, and connects each client to the broker at *host*, *port*.

    *user* is what stands before the host in `url`, such as ``guest:guest@``. `connections` counts the accepted ones,
    `frames` by way and command, `bytes` by way; what is delayed or swallowed has been counted.
    """

    def __init__(self, host: str, port: int, *, user: str = "", receive_buffer: int = 0) -> None:
        self._target = host, port
        self._user = user
        self._receive_buffer = receive_buffer
        self._own = contextlib.ExitStack()
        self.port = self._own.enter_context(own_port())
        self.connections = 0
        self.frames: collections.Counter[tuple[Way, str]] = collections.Counter()
        self.bytes: collections.Counter[Way] = collections.Counter()
        self._delay: dict[Way, float] = dict.fromkeys(WAYS, 0.0)
        self._interval: dict[Way, float | None] = dict.fromkeys(WAYS, None)
        self._frozen: dict[Way, bool] = dict.fromkeys(WAYS, False)
        self._swallowing: dict[Way, bool] = dict.fromkeys(WAYS, False)
        self._welcomes: collections.deque[tuple[Welcome, int | None]] = collections.deque()
        self._traps: list[Trap] = []
        self._links: set[_Link] = set()
        self._changed = threading.Condition()
        self._calls: collections.deque[tuple[typing.Callable[[], object], concurrent.futures.Future[typing.Any]]] = (
            collections.deque()
        )
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._listen()
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"stomp://{self._user}127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and the listening socket."""
        if self._running:
            self._call(self._stop)
            self._thread.join(PATIENCE)
            self._own.close()

    # -- what it is to do now -----------------------------------------------------------------------------------

    def cut(self, *, reset: bool = False) -> None:
        """Close all present connections; with *reset*, by a TCP reset to the client."""

        def cut() -> None:
            for link in list(self._links):
                self._close(link, reset=reset)

        self._call(cut)

    def freeze(self, *ways: Way) -> None:
        """Read and write nothing on these ways (without any: on both), on all connections, until `thaw`."""
        self._call(lambda: self._frozen.update(dict.fromkeys(ways or WAYS, True)))

    def thaw(self) -> None:
        """End every freeze. What had arrived meanwhile goes on its way."""

        def thaw() -> None:
            self._frozen.update(dict.fromkeys(WAYS, False))
            for link in self._links:
                for pipe in link.pipes:
                    pipe.frozen = False

        self._call(thaw)

    def swallow(self, *ways: Way) -> None:
        """Read what comes on these ways (without any: on both), and forward none of it, until `clear`."""
        self._call(lambda: self._swallowing.update(dict.fromkeys(ways or WAYS, True)))

    def delay(self, seconds: float, *ways: Way) -> None:
        """Forward what comes from now on *seconds* later, until `clear`."""
        self._call(lambda: self._delay.update(dict.fromkeys(ways or WAYS, seconds)))

    def dribble(self, *ways: Way, interval: float = 0.0) -> None:
        """Forward every byte alone, with *interval* seconds between two, until `clear`."""
        self._call(lambda: self._interval.update(dict.fromkeys(ways or WAYS, interval)))

    def stop_listening(self) -> None:
        """Close the listening socket: who connects is refused by the system. Others are not disturbed."""
        self._call(self._stop_listening)

    def listen_again(self) -> None:
        """End `stop_listening`."""
        self._call(self._listen)

    def clear(self) -> None:
        """End all that was ordered. Connections that were welcomed mute stay so."""

        def clear() -> None:
            self._traps.clear()
            self._welcomes.clear()
            for way in WAYS:
                self._delay[way] = 0.0
                self._interval[way] = None
                self._swallowing[way] = self._frozen[way] = False
            for link in self._links:
                for pipe in link.pipes:
                    pipe.frozen = pipe.swallowing = False
            self._listen()

        self._call(clear)

    # -- what it is to do with the next connections ---------------------------------------------------------------

    def refuse(self, *, times: int | None = 1, reset: bool = False) -> None:
        """Accept the next connections and close them at once; with *reset*, by a TCP reset."""
        self._call(lambda: self._welcomes.append(("reset" if reset else "cut", times)))

    def mute(self, *, times: int | None = 1) -> None:
        """Accept the next connections, read what they say, never answer, and never ask the broker."""
        self._call(lambda: self._welcomes.append(("mute", times)))

    # -- what it is to do later -----------------------------------------------------------------------------------

    def on_frame(
        self,
        command: str,
        deed: Deed = "cut",
        *,
        way: Way = UP,
        forward: bool = True,
        after: int = 0,
        times: int | None = 1,
    ) -> Trap:
        """Do *deed* when a frame with *command* has come, which itself is forwarded unless *forward* is false.

        ``cut`` and ``reset`` close the connection, ``freeze`` and ``swallow`` concern the way of that connection.
        """
        return self._set(Trap(way, deed, command=command, forward=forward, after=after, times=times))

    def on_bytes(self, count: int, deed: Deed = "cut", *, way: Way = UP, times: int | None = 1) -> Trap:
        """Do *deed* as soon as a connection has forwarded *count* more bytes."""
        return self._set(Trap(way, deed, count=count, times=times))

    # -- what has happened ----------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def wait_for(self, condition: typing.Callable[[], object], timeout: float = PATIENCE) -> bool:
        """Wait until *condition* holds; it is asked after each thing that happens here. False: it never did."""
        with self._changed:
            return bool(self._changed.wait_for(condition, timeout))

    # -- the loop's thread ----------------------------------------------------------------------------------------

    def _call(self, function: typing.Callable[[], _T]) -> _T:
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._calls.append((function, future))
        with contextlib.suppress(OSError):  # the loop was awake and has done it; stopped, it has closed this
            self._wake_sender.send(b"\0")
        return future.result(PATIENCE)

    def _set(self, trap: Trap) -> Trap:
        def set_trap() -> None:
            self._traps.append(trap)
            if trap.count is not None:
                for link in self._links:
                    link.pipe(trap.way).counted[trap] = 0

        self._call(set_trap)
        return trap

    def _run(self) -> None:
        while self._running:
            ready = self._selector.select(self._timeout())
            for key, events in ready:
                if key.fileobj is self._wake_receiver:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_receiver.recv(4096)
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Link) and not key.data.closed:
                    self._serve(key.data, typing.cast("socket.socket", key.fileobj), events)
            while self._calls:
                function, future = self._calls.popleft()
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                    future.set_exception(error)
            for link in list(self._links):
                self._settle(link)
            with self._changed:
                self._changed.notify_all()

    def _timeout(self) -> float | None:
        due = [
            pipe.due
            for link in self._links
            for pipe in link.pipes
            if not self._stands(pipe) and not link.waits_to_write(pipe)
        ]
        soonest = min((each for each in due if each is not None), default=None)
        return None if soonest is None else max(soonest - time.monotonic(), 0.0)

    def _stop(self) -> None:
        self._running = False
        self._stop_listening()
        for link in list(self._links):
            self._close(link)
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(256)
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._selector.unregister(listener)
            listener.close()

    def _welcome(self) -> Welcome:
        if not self._welcomes:
            return "pass"
        welcome, times = self._welcomes[0]
        if times is not None:
            self._welcomes.popleft()
            if times > 1:
                self._welcomes.appendleft((welcome, times - 1))
        return welcome

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.connections += 1
        welcome = self._welcome()
        if welcome in ("cut", "reset"):
            _end(client, reset=welcome == "reset")
            return
        broker = None
        if welcome == "pass":
            try:
                broker = socket.create_connection(self._target, 30.0)
            except OSError:
                _end(client)
                return
        link = _Link(client, broker)
        for trap in self._traps:
            if trap.count is not None:
                link.pipe(trap.way).counted[trap] = 0
        self._links.add(link)

    def _serve(self, link: _Link, ready: socket.socket, events: int) -> None:
        for pipe in link.pipes:
            if events & selectors.EVENT_READ and pipe.source is ready and self._reads(pipe):
                try:
                    data = ready.recv(_CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if data:
                    self._take(link, pipe, data)
                else:
                    link.ending = link.ending or "cut"

    def _reads(self, pipe: _Pipe) -> bool:
        return not (pipe.frozen or self._frozen[pipe.way]) and pipe.size < _CHUNK

    def _take(self, link: _Link, pipe: _Pipe, data: bytes) -> None:
        """Count *data*, spring the traps that it meets, and put what passes into the pipe."""
        self.bytes[pipe.way] += len(data)
        start = 0
        while start < len(data):
            # A frame can only end at a NUL: cut there, a piece holds the end of one frame at the most.
            end = data.find(b"\0", start) + 1 or len(data)
            limits = [
                (trap.count - done, trap)
                for trap, done in pipe.counted.items()
                if trap.set and trap.count is not None and trap.count > done
            ]
            nearest, counting = min(limits, key=lambda limit: limit[0], default=(_CHUNK, None))
            end = min(end, start + nearest)
            piece = data[start:end]
            start = end
            for trap in pipe.counted:
                pipe.counted[trap] += len(piece)
            pipe.held += piece
            sprung = [counting] if counting is not None and len(piece) == nearest else []
            for command in pipe.parse(piece):
                self.frames[pipe.way, command] += 1
                sprung += self._sprung(pipe.way, command)
            forward = all(trap.forward for trap in sprung)
            if not forward:
                pipe.held.clear()
            # While a frame may have to be kept back, its first bytes wait for its end.
            if not self._holds(pipe.way) or not pipe.in_frame or sprung:
                self._forward(pipe)
            for trap in sprung:
                trap.fired += 1
                if trap.deed == "freeze":
                    pipe.frozen = True
                elif trap.deed == "swallow":
                    pipe.swallowing = True
                else:
                    link.ending = trap.deed
                    return

    def _sprung(self, way: Way, command: str) -> list[Trap]:
        for trap in self._traps:
            if trap.way == way and trap.command == command and trap.set:
                if trap.after:
                    trap.after -= 1
                    continue
                return [trap]
        return []

    def _holds(self, way: Way) -> bool:
        return any(trap.way == way and trap.set and not trap.forward for trap in self._traps)

    def _forward(self, pipe: _Pipe) -> None:
        data = bytes(pipe.held)
        pipe.held.clear()
        if pipe.swallowing or self._swallowing[pipe.way] or pipe.sink is None:
            return
        delay = self._delay[pipe.way]
        if delay or pipe.delayed:
            pipe.delayed.append((time.monotonic() + delay, data))
        else:
            pipe.out += data

    def _settle(self, link: _Link) -> None:
        """Write what can be written, and tell the selector what the connection waits for."""
        now = time.monotonic()
        for pipe in link.pipes:
            while pipe.delayed and pipe.delayed[0][0] <= now:
                pipe.out += pipe.delayed.popleft()[1]
            try:
                self._write(pipe, now)
            except OSError:
                link.ending = link.ending or "cut"
                pipe.out.clear()
        if link.ending and not any(pipe.size and not self._stands(pipe) for pipe in link.pipes):
            self._close(link, reset=link.ending == "reset")
            return
        for sock in link.sockets:
            wanted = 0
            for pipe in link.pipes:
                if pipe.source is sock and self._reads(pipe) and not link.ending:
                    wanted |= selectors.EVENT_READ
                if pipe.sink is sock and pipe.out and not self._stands(pipe) and pipe.next_byte <= now:
                    wanted |= selectors.EVENT_WRITE
            self._want(link, sock, wanted)

    def _stands(self, pipe: _Pipe) -> bool:
        return pipe.frozen or self._frozen[pipe.way]

    def _write(self, pipe: _Pipe, now: float) -> None:
        interval = self._interval[pipe.way]
        while pipe.out and pipe.sink is not None and not self._stands(pipe) and pipe.next_byte <= now:
            try:
                sent = pipe.sink.send(pipe.out if interval is None else pipe.out[:1])
            except BlockingIOError:
                return
            del pipe.out[:sent]
            if interval:
                pipe.next_byte = now + interval

    def _want(self, link: _Link, sock: socket.socket, wanted: int) -> None:
        present = link.wanted[sock]
        if wanted == present:
            return
        if not present:
            self._selector.register(sock, wanted, link)
        elif not wanted:
            self._selector.unregister(sock)
        else:
            self._selector.modify(sock, wanted, link)
        link.wanted[sock] = wanted

    def _close(self, link: _Link, *, reset: bool = False) -> None:
        link.closed = True
        self._links.discard(link)
        for sock in link.sockets:
            self._want(link, sock, 0)
            # Only the client's end is reset: at the broker, what it had read still counts.
            _end(sock, reset=reset and sock is link.sockets[0])


class _Link:
    """A client's connection with its other half to the broker (none, if it was welcomed mute)."""

    def __init__(self, client: socket.socket, broker: socket.socket | None) -> None:
        self.sockets = [sock for sock in (client, broker) if sock is not None]
        for sock in self.sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipes = (_Pipe(UP, client, broker), _Pipe(DOWN, broker, client))
        self.wanted = dict.fromkeys(self.sockets, 0)
        self.ending: Deed | None = None
        self.closed = False

    def pipe(self, way: Way) -> _Pipe:
        return self.pipes[way == DOWN]

    def waits_to_write(self, pipe: _Pipe) -> bool:
        """Whether it is not the clock that holds back what *pipe* has, but the socket, which takes no more."""
        return pipe.sink is None or bool(self.wanted[pipe.sink] & selectors.EVENT_WRITE)


class _Pipe:
    """One way of one connection."""

    def __init__(self, way: Way, source: socket.socket | None, sink: socket.socket | None) -> None:
        self.way: Way = way
        self.source = source
        self.sink = sink
        self.held = bytearray()  # of a frame that may have to be kept back
        self.delayed: collections.deque[tuple[float, bytes]] = collections.deque()
        self.out = bytearray()
        self.frozen = False
        self.swallowing = False
        self.next_byte = 0.0
        self.counted: dict[Trap, int] = {}
        self._frames: FrameBuffer | None = FrameBuffer(max_body_bytes=1 << 30)

    @property
    def size(self) -> int:
        return len(self.out) + sum(len(data) for _, data in self.delayed)

    @property
    def due(self) -> float | None:
        """When there will be something to write, or was, as far as the clock decides."""
        if self.out:
            return self.next_byte
        return self.delayed[0][0] if self.delayed else None

    @property
    def in_frame(self) -> bool:
        return self._frames is not None and len(self._frames) > 0

    def parse(self, piece: bytes) -> list[str]:
        """The commands of the frames that *piece* completes; none any more once the bytes are not STOMP (TLS)."""
        if self._frames is None:
            return []
        try:
            self._frames.append(piece)
            return [frame.command for frame in self._frames]
        except ProtocolError:
            self._frames = None
            return []


def _end(sock: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            # With bytes unread, close() would reset the connection; FIN was asked for.
            sock.setblocking(False)
            while sock.recv(_CHUNK):
                pass
    sock.close()
