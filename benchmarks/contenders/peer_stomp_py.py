"""stomp.py: the client that most Python programs use.

It has a thread for each connection, which reads; receipts are confirmed here through an event for each (its own
``WaitingListener`` has no time limit and is slower). One connection serves all threads.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator

import stomp
from stomp.exception import ConnectionClosedException
from stomp.transport import BaseTransport
from stomp.utils import Frame, convert_frame, decode, is_eol_default, pack, parse_frame

from benchmarks.case import Case
from benchmarks.contender import Run
from benchmarks.contenders.memory import idle_run
from benchmarks.contenders.parsing import Parsing
from benchmarks.contenders.peak import peak_run
from benchmarks.contenders.receiving import LIMIT, Counter, Starter
from benchmarks.frames import CONTENT_TYPE, HEADERS, body, receiving_destination
from benchmarks.outcome import Outcome, in_threads, repeat


class Receipts(stomp.ConnectionListener):
    """Tells each waiter that its receipt has come."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[str, threading.Event] = {}

    def new(self) -> tuple[str, threading.Event]:
        receipt = str(next(self._ids))
        event = self._waiting[receipt] = threading.Event()
        return receipt, event

    def on_receipt(self, frame: Frame) -> None:
        event = self._waiting.pop(frame.headers["receipt-id"], None)
        if event is not None:
            event.set()


class Messages(stomp.ConnectionListener):
    """Counts messages."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def on_message(self, frame: Frame) -> None:
        self._counter.take()


class Connection:
    """A connection with a listener for receipts."""

    def __init__(self, case: Case) -> None:
        self.stomp = stomp.Connection12([(case.host, case.port)], vhost="/")
        self.receipts = Receipts()
        self.stomp.set_listener("receipts", self.receipts)
        self.stomp.connect(case.login, case.passcode, wait=True)

    def confirmed(self, destination: str, content: bytes) -> None:
        receipt, event = self.receipts.new()
        self.stomp.send(destination, content, content_type=CONTENT_TYPE, headers={**HEADERS, "receipt": receipt})
        if not event.wait(LIMIT):
            raise TimeoutError("no receipt")

    def close(self) -> None:
        receipt, event = self.receipts.new()
        self.stomp.disconnect(receipt)
        event.wait(LIMIT)


class Loop(BaseTransport):
    """stomp.py's reading loop, fed with chunks in place of a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self._chunks: Iterator[bytes] = iter(())

    def receive(self) -> bytes:
        return next(self._chunks, b"")

    def feed(self, chunks: list[bytes]) -> int:
        frames = 0
        self._chunks = iter(chunks)
        with contextlib.suppress(ConnectionClosedException):
            while True:
                for raw in self._BaseTransport__read():
                    if is_eol_default(raw):
                        continue
                    frame = parse_frame(raw)
                    if frame is not None:
                        frame.body = decode(frame.body)
                        frames += 1
        return frames


class StompPy(Parsing):
    """stomp.py, version 9."""

    @contextlib.contextmanager
    def _connection(self, case: Case) -> Iterator[Connection]:
        connection = Connection(case)
        yield connection
        connection.close()

    @staticmethod
    def _finish(connection: Connection, case: Case) -> Callable[[], int]:
        def finish() -> int:
            connection.confirmed(case.destination, b"")
            return 1

        return finish

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._connection(case) as connection:
            send, finish = connection.stomp.send, self._finish(connection, case)

            def call() -> None:
                send(destination, content, content_type=CONTENT_TYPE, headers=HEADERS)

            def run(count: int) -> Outcome:
                if case.threads == 1:
                    return repeat(count, call, finish)
                return in_threads(count, [call] * case.threads, finish=finish)

            yield run

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._connection(case) as connection:

            def call() -> None:
                connection.confirmed(destination, content)

            yield lambda count: in_threads(count, [call] * case.threads) if case.threads > 1 else repeat(count, call)

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._connection(case) as connection:
            send = connection.stomp.send

            def call() -> None:
                send(destination, content, content_type=CONTENT_TYPE, headers=HEADERS)
                send(destination, content, content_type=CONTENT_TYPE, headers=HEADERS)
                connection.confirmed(destination, content)

            yield lambda count: repeat(count, call, sent=3)

    @contextlib.contextmanager
    def connect(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination

        def call() -> None:
            with self._connection(case) as connection:
                connection.stomp.send(destination, content, content_type=CONTENT_TYPE, headers=HEADERS)

        yield lambda count: repeat(count, call)

    @contextlib.contextmanager
    def receive(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter, self._connection(case) as connection:

            def run(count: int) -> Outcome:
                counter = Counter(count)
                connection.stomp.set_listener("messages", Messages(counter))
                receipt, event = connection.receipts.new()
                destination = receiving_destination(count, case.size)
                connection.stomp.subscribe(destination, id="sub-1", ack="auto", headers={"receipt": receipt})
                event.wait(LIMIT)
                began = starter.go()
                ended = counter.wait()
                return starter.outcome(began, counter.came, ended)

            yield run

    def encoder(self, case: Case) -> Callable[[], bytes]:
        content = body(case.size)
        headers = {
            "destination": case.destination,
            **HEADERS,
            "content-type": CONTENT_TYPE,
            "content-length": len(content),
        }
        return lambda: pack(convert_frame(Frame("SEND", headers, content)))

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        return Loop().feed

    @contextlib.contextmanager
    def idle(self, case: Case) -> Iterator[Run]:
        def close(connections: object) -> None:
            for connection in connections:  # type: ignore[attr-defined]
                connection.close()

        yield idle_run(lambda: [Connection(case) for _ in range(case.threads)], close)

    @contextlib.contextmanager
    def peak(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        with self._connection(case) as connection:
            yield peak_run(
                lambda: connection.stomp.send(case.destination, content, content_type=CONTENT_TYPE, headers=HEADERS),
                case,
                self._finish(connection, case),
            )
