"""stompest: a synchronous client without threads. It sets no content-length of itself, so it is given one."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Iterator

from stompest.config import StompConfig
from stompest.protocol import StompFrame, StompParser
from stompest.sync import Stomp

from benchmarks.case import Case
from benchmarks.contender import Run
from benchmarks.contenders.memory import idle_run
from benchmarks.contenders.parsing import Parsing
from benchmarks.contenders.peak import peak_run
from benchmarks.contenders.receiving import Starter
from benchmarks.frames import CONTENT_TYPE, HEADERS, body, receiving_destination
from benchmarks.outcome import Outcome, in_threads, repeat

POOL = 8


class Connection:
    """A client after CONNECTED."""

    def __init__(self, case: Case) -> None:
        self.stomp = Stomp(
            StompConfig(
                f"tcp://{case.host}:{case.port}", login=case.login or "", passcode=case.passcode or "", version="1.2"
            )
        )
        self.stomp.connect(host="/")
        self._ids = itertools.count(1)

    def confirmed(self, destination: str, content: bytes, headers: dict[str, str]) -> None:
        receipt = str(next(self._ids))
        self.stomp.send(destination, content, headers, receipt)
        self.await_receipt()

    def await_receipt(self) -> None:
        frame = self.stomp.receiveFrame()
        if frame.command != "RECEIPT":
            raise ConnectionError(f"the answer was {frame.command}")

    def close(self) -> None:
        self.stomp.disconnect("bye")
        self.await_receipt()
        self.stomp.close()


def headers_for(content: bytes) -> dict[str, str]:
    return {**HEADERS, "content-type": CONTENT_TYPE, "content-length": str(len(content))}


class Stompest(Parsing):
    """stompest, version 2. Several threads share 8 connections through a queue."""

    @contextlib.contextmanager
    def _connection(self, case: Case) -> Iterator[Connection]:
        connection = Connection(case)
        yield connection
        connection.close()

    @staticmethod
    def _finish(connection: Connection, case: Case) -> Callable[[], int]:
        def finish() -> int:
            connection.confirmed(case.destination, b"", headers_for(b""))
            return 1

        return finish

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        headers = headers_for(content)
        with self._connection(case) as connection:
            send = connection.stomp.send
            yield lambda count: repeat(
                count, lambda: send(destination, content, headers), self._finish(connection, case)
            )

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        headers = headers_for(content)
        if case.threads > 1:
            yield from self._confirmed_in_threads(case, content, headers)
            return
        with self._connection(case) as connection:
            yield lambda count: repeat(count, lambda: connection.confirmed(destination, content, headers))

    def _confirmed_in_threads(self, case: Case, content: bytes, headers: dict[str, str]) -> Iterator[Run]:
        pool: queue.LifoQueue[Connection] = queue.LifoQueue()
        for _ in range(POOL):
            pool.put(Connection(case))

        def call() -> None:
            connection = pool.get()
            connection.confirmed(case.destination, content, headers)
            pool.put(connection)

        yield lambda count: in_threads(count, [call] * case.threads)
        for _ in range(POOL):
            pool.get().close()

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        headers = headers_for(content)
        with self._connection(case) as connection:

            def call() -> None:
                connection.stomp.send(destination, content, headers)
                connection.stomp.send(destination, content, headers)
                connection.confirmed(destination, content, headers)

            yield lambda count: repeat(count, call, sent=3)

    @contextlib.contextmanager
    def connect(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        headers = headers_for(content)

        def call() -> None:
            with self._connection(case) as connection:
                connection.stomp.send(destination, content, headers)

        yield lambda count: repeat(count, call)

    @contextlib.contextmanager
    def receive(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter, self._connection(case) as connection:

            def run(count: int) -> Outcome:
                destination = receiving_destination(count, case.size)
                connection.stomp.subscribe(destination, {"id": "sub-1", "ack": "auto"}, "sub")
                connection.await_receipt()
                receive = connection.stomp.receiveFrame
                began = starter.go()
                came = 0
                while came < count and receive().command == "MESSAGE":
                    came += 1
                return starter.outcome(began, came)

            yield run

    def encoder(self, case: Case) -> Callable[[], bytes]:
        content = body(case.size)
        headers = {"destination": case.destination, **headers_for(content)}
        return lambda: bytes(StompFrame("SEND", headers, content, version="1.2"))

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        parser = StompParser("1.2")
        add, get = parser.add, parser.get

        def feed_all(chunks: list[bytes]) -> int:
            frames = 0
            for chunk in chunks:
                add(chunk)
                while (frame := get()) is not None:
                    frames += isinstance(frame, StompFrame)
            return frames

        return feed_all

    @contextlib.contextmanager
    def idle(self, case: Case) -> Iterator[Run]:
        yield idle_run(lambda: [Connection(case) for _ in range(case.threads)])

    @contextlib.contextmanager
    def peak(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        with self._connection(case) as connection:
            yield peak_run(
                lambda: connection.stomp.send(case.destination, content, headers_for(content)),
                case,
                self._finish(connection, case),
            )
