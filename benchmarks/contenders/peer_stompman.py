"""stompman: an asyncio client. Measured in a loop of its own, which is where it is fastest.

Several callers at the same time are tasks. A web application that is not asynchronous would have to hand each message
to a loop in another thread, which is several times slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import stompman
from stompman.connection import Connection
from stompman.frames import MessageFrame, SendFrame
from stompman.serde import FrameParser, dump_frame

from benchmarks.case import Case
from benchmarks.contender import Run
from benchmarks.contenders.memory import Traced
from benchmarks.contenders.parsing import Parsing
from benchmarks.contenders.receiving import LIMIT, Counter, Starter
from benchmarks.frames import CONTENT_TYPE, HEADERS, body, receiving_destination
from benchmarks.outcome import Outcome, summary

Doing = Callable[[stompman.Client], Awaitable[object]]


class AnyHost(Connection):
    """Connects to 127.0.0.1, so that the ``host`` header may be the virtual host ``/``.

    Without that it is the name of the machine, which RabbitMQ refuses.
    """

    @classmethod
    async def connect(cls, **options: object) -> Connection | None:  # type: ignore[override]
        return await super().connect(**{**options, "host": "127.0.0.1"})  # type: ignore[arg-type]


def client_for(case: Case) -> stompman.Client:
    server = stompman.ConnectionParameters("/", case.port, case.login or "guest", case.passcode or "guest")
    return stompman.Client([server], connection_class=AnyHost, on_error_frame=None)


@contextlib.asynccontextmanager
async def connected(case: Case) -> AsyncIterator[stompman.Client]:
    async with client_for(case) as client:
        yield client


class Stompman(Parsing):
    """stompman, version 3."""

    def _calls(self, case: Case, call: Doing, last: Doing | None = None, sent: int = 1) -> Run:
        """Do *call* in as many tasks as the case has threads, then *last*, which sends one more message."""

        async def work(client: stompman.Client, count: int) -> list[float]:
            waits = []
            for _ in range(count):
                start = time.perf_counter()
                await call(client)
                waits.append(time.perf_counter() - start)
            return waits

        async def measure(count: int) -> Outcome:
            each = max(count // case.threads, 1)
            async with connected(case) as client:
                began = time.perf_counter()
                waits = await asyncio.gather(*(work(client, each) for _ in range(case.threads)))
                called = time.perf_counter()
                if last is not None:
                    await last(client)
                ended = time.perf_counter()
            done = each * case.threads
            more = last is not None
            return Outcome(
                ended - began, called - began, done, done * sent + more, waits=summary(list(itertools.chain(*waits)))
            )

        return lambda count: asyncio.run(measure(count))

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        yield self._calls(
            case,
            lambda client: client.send(content, case.destination, content_type=CONTENT_TYPE, headers=HEADERS),
            lambda client: client.send(b"", case.destination, receipt_timeout=LIMIT),
        )

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        yield self._calls(
            case,
            lambda client: client.send(
                content, case.destination, content_type=CONTENT_TYPE, headers=HEADERS, receipt_timeout=LIMIT
            ),
        )

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination

        async def call(client: stompman.Client) -> None:
            await client.send(content, destination, content_type=CONTENT_TYPE, headers=HEADERS)
            await client.send(content, destination, content_type=CONTENT_TYPE, headers=HEADERS)
            await client.send(content, destination, content_type=CONTENT_TYPE, headers=HEADERS, receipt_timeout=LIMIT)

        yield self._calls(case, call, sent=3)

    @contextlib.contextmanager
    def connect(self, case: Case) -> Iterator[Run]:
        content = body(case.size)

        async def measure(count: int) -> Outcome:
            began = time.perf_counter()
            for _ in range(count):
                async with connected(case) as client:
                    await client.send(content, case.destination, content_type=CONTENT_TYPE, headers=HEADERS)
            seconds = time.perf_counter() - began
            return Outcome(seconds, seconds, count, count)

        yield lambda count: asyncio.run(measure(count))

    @contextlib.contextmanager
    def receive(self, case: Case) -> Iterator[Run]:
        async def measure(count: int, starter: Starter) -> Outcome:
            done = asyncio.Event()
            counter = Counter(count, done.set)

            async def handle(_: MessageFrame) -> None:
                counter.take()

            async with connected(case) as client:
                subscription = await client.subscribe(
                    receiving_destination(count, case.size),
                    handle,
                    ack="auto",
                    on_suppressed_exception=lambda *_: None,
                    receipt_timeout=LIMIT,
                )
                began = starter.go()
                await asyncio.wait_for(done.wait(), LIMIT)
                await subscription.unsubscribe()
            return starter.outcome(began, counter.came, counter.at)

        with Starter(case) as starter:
            yield lambda count: asyncio.run(measure(count, starter))

    @contextlib.contextmanager
    def idle(self, case: Case) -> Iterator[Run]:
        loop = asyncio.new_event_loop()

        async def open_some() -> list[stompman.Client]:
            return [await client_for(case).__aenter__() for _ in range(case.threads)]

        async def close_all(clients: list[stompman.Client]) -> None:
            for client in clients:
                await client.__aexit__(None, None, None)

        async def measure(count: int) -> Outcome:
            kept: list[list[stompman.Client]] = []
            with Traced() as traced:
                for _ in range(count + 1):
                    kept.append(await open_some())
                    traced.one_more()
            for clients in reversed(kept):  # task groups end in the reverse of the order in which they began
                await close_all(list(reversed(clients)))
            return traced.outcome()

        yield lambda count: loop.run_until_complete(measure(count))
        loop.close()

    def encoder(self, case: Case) -> Callable[[], bytes]:
        content = body(case.size)
        headers = {
            "destination": case.destination,
            **HEADERS,
            "content-type": CONTENT_TYPE,
            "content-length": str(len(content)),
        }
        return lambda: dump_frame(SendFrame(headers=headers, body=content))  # type: ignore[arg-type]

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        parse = FrameParser().parse_frames_from_chunk

        def feed_all(chunks: list[bytes]) -> int:
            frames = 0
            for chunk in chunks:
                for frame in parse(chunk):
                    frames += isinstance(frame, MessageFrame)
            return frames

        return feed_all
