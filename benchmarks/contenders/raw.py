"""The limit: a blocking socket, TCP_NODELAY, and bytes that were ready before.

It does what the machine and Python can do at all for the task, and not one check. For a confirmed message that is
``sendall``, and ``recv`` until the RECEIPT is there.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Iterator

from benchmarks import minimal
from benchmarks.case import Case
from benchmarks.contender import Run
from benchmarks.contenders.parsing import Parsing
from benchmarks.contenders.receiving import Starter
from benchmarks.frames import CONTENT_TYPE, HEADERS, body, connect_frame, receiving_destination, send_frame
from benchmarks.outcome import Outcome, in_threads, repeat

BATCH = 64


class RawConnection:
    """One socket, after CONNECTED."""

    def __init__(self, case: Case) -> None:
        self.socket = socket.create_connection((case.host, case.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        self.send(connect_frame("/", case.login, case.passcode))
        self.await_frames(1)

    def await_frames(self, count: int) -> None:
        """Read until *count* frames have come, and nothing else but line ends."""
        receive = self.socket.recv
        while count > 0:
            data = receive(65536)
            if not data or data.startswith(b"ERROR"):
                raise ConnectionError(f"the answer was {data[:200]!r}")
            count -= data.count(b"\0")

    def confirmed(self, frame: bytes) -> None:
        """Send *frame*, and read its receipt: a single one, so that the end of the frame is all to look for."""
        self.send(frame)
        receive = self.socket.recv
        while b"\0" not in (data := receive(65536)):
            if not data:
                raise ConnectionError("the connection was closed")

    def finish(self, case: Case) -> int:
        """A last message, confirmed. When that is there, everything before it is."""
        self.confirmed(send_frame(0, "last", case.destination))
        return 1

    def close(self) -> None:
        self.send(b"DISCONNECT\nreceipt:bye\n\n\0")
        self.await_frames(1)
        self.socket.close()


class Raw(Parsing):
    """Bare sockets, one for each thread; the minimal codec."""

    @contextlib.contextmanager
    def _connections(self, case: Case) -> Iterator[list[RawConnection]]:
        connections = [RawConnection(case) for _ in range(case.threads)]
        yield connections
        for connection in connections:
            connection.close()

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        frame = send_frame(case.size, None, case.destination)
        with self._connections(case) as connections:
            calls = [functools.partial(connection.send, frame) for connection in connections]
            finishes = [functools.partial(connection.finish, case) for connection in connections]
            yield self._runner(calls, finishes)

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        frame = send_frame(case.size, "1", case.destination)
        with self._connections(case) as connections:
            yield self._runner([functools.partial(connection.confirmed, frame) for connection in connections])

    @staticmethod
    def _runner(calls: list[Callable[[], object]], finishes: list[Callable[[], int]] | None = None) -> Run:
        def run(count: int) -> Outcome:
            if len(calls) > 1:
                return in_threads(count, calls, finishes or ())
            return repeat(count, calls[0], finishes[0] if finishes else None)

        return run

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        plain = send_frame(case.size, None, case.destination)
        last = send_frame(case.size, "1", case.destination)
        with self._connections(case) as (connection,):
            send, confirmed = connection.send, connection.confirmed

            def call() -> None:
                send(plain)
                send(plain)
                confirmed(last)

            yield lambda count: repeat(count, call, sent=3)

    @contextlib.contextmanager
    def batch(self, case: Case) -> Iterator[Run]:
        frames = send_frame(case.size, None, case.destination) * BATCH
        with self._connections(case) as (connection,):
            call = functools.partial(connection.send, frames)
            finish = functools.partial(connection.finish, case)
            yield lambda count: repeat(count, call, finish, units=BATCH, sent=BATCH)

    @contextlib.contextmanager
    def batch_confirmed(self, case: Case) -> Iterator[Run]:
        frames = send_frame(case.size, "1", case.destination) * BATCH
        with self._connections(case) as (connection,):

            def call() -> None:
                connection.send(frames)
                connection.await_frames(BATCH)

            yield lambda count: repeat(count, call, units=BATCH, sent=BATCH)

    @contextlib.contextmanager
    def connect(self, case: Case) -> Iterator[Run]:
        frame = send_frame(case.size, None, case.destination)

        def call() -> None:
            connection = RawConnection(case)
            connection.send(frame)
            connection.close()

        yield lambda count: repeat(count, call)

    # -- receiving --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def receive(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter, self._connections(case) as (connection,):

            def run(count: int) -> Outcome:
                destination = receiving_destination(count, case.size)
                connection.confirmed(f"SUBSCRIBE\nid:sub-1\ndestination:{destination}\nreceipt:1\n\n\0".encode())
                feed, receive = minimal.Parser().feed, connection.socket.recv
                came = 0
                began = starter.go()
                while came < count:
                    came += len(feed(receive(65536)))
                return starter.outcome(began, came)

            yield run

    # -- the codec --------------------------------------------------------------------------------------------

    def encoder(self, case: Case) -> Callable[[], bytes]:
        content = body(case.size)
        headers = {"destination": case.destination, **HEADERS, "content-type": CONTENT_TYPE}
        return lambda: minimal.encode("SEND", headers, content)

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        feed = minimal.Parser().feed

        def feed_all(chunks: list[bytes]) -> int:
            frames = 0
            for chunk in chunks:
                frames += len(feed(chunk))
            return frames

        return feed_all

    # -- memory -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def idle(self, case: Case) -> Iterator[Run]:
        from benchmarks.contenders.memory import idle_run

        yield idle_run(lambda: [RawConnection(case) for _ in range(case.threads)])
