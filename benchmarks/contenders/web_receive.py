"""stomp-web receives: the duplex client's loop and queue, its single calls, callbacks, and the worker."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.contenders.receiving import LIMIT, Counter, Starter
from benchmarks.frames import receiving_destination
from benchmarks.outcome import Outcome
from stomp_web import PublishSubscribeClient, QueueingDuplexClient
from stomp_web.worker import ReceivedMessage, Worker


@contextlib.contextmanager
def listening(client: QueueingDuplexClient) -> Iterator[None]:
    """Run the client's loop in a thread, as the documentation says."""
    client.connect()
    thread = threading.Thread(target=client.listen_forever, daemon=True)
    thread.start()
    if not client.listening_event.wait(LIMIT):
        raise TimeoutError("the loop did not begin")
    yield
    client.shutdown_event.set()
    thread.join(LIMIT)


class Receiving(Contender):
    """The clients that receive."""

    @contextlib.contextmanager
    def queue(self, case: Case) -> Iterator[Run]:
        client = QueueingDuplexClient(case.host, case.port, timeout=LIMIT)
        with Starter(case) as starter, listening(client):

            def run(count: int) -> Outcome:
                client.subscribe(receiving_destination(count, case.size))
                get = client.message_queue.get
                began = starter.go()
                for _ in range(count):
                    get(timeout=LIMIT)
                return starter.outcome(began, count)

            yield run

    @contextlib.contextmanager
    def single_calls(self, case: Case) -> Iterator[Run]:
        client = QueueingDuplexClient(case.host, case.port, timeout=LIMIT)
        with Starter(case) as starter, client:

            def run(count: int) -> Outcome:
                client.subscribe(receiving_destination(count, case.size))
                receive = client.receive
                began = starter.go()
                came = 0
                while came < count and receive() is not None:
                    came += 1
                return starter.outcome(began, came)

            yield run

    @contextlib.contextmanager
    def callback(self, case: Case) -> Iterator[Run]:
        client = PublishSubscribeClient(case.host, case.port, timeout=LIMIT)
        with Starter(case) as starter, listening(client):

            def run(count: int) -> Outcome:
                counter = Counter(count)
                take = counter.take
                client.subscribe(receiving_destination(count, case.size), lambda _: take())
                began = starter.go()
                ended = counter.wait()
                return starter.outcome(began, counter.came, ended)

            yield run


class Workers(Contender):
    """`Worker` with a handler that gets the decoded JSON and does nothing with it; in 8 threads, or in one."""

    def _run(self, case: Case, ack: str, starter: Starter, concurrency: int = 8) -> Run:
        def run(count: int) -> Outcome:
            worker = Worker(case.url, concurrency=concurrency, timeout=LIMIT)
            counter = Counter(count, worker.stop)
            began = 0.0

            @worker.subscribe(receiving_destination(count, case.size), ack=ack)
            def handle(message: ReceivedMessage) -> None:
                assert message.payload
                counter.take()

            def start() -> None:
                nonlocal began
                end = time.monotonic() + LIMIT
                while not worker.is_alive and time.monotonic() < end:
                    time.sleep(0.005)
                began = starter.go()

            thread = threading.Thread(target=start)
            thread.start()
            worker.run()
            thread.join()
            outcome = starter.outcome(began, counter.came, counter.wait())
            outcome.acknowledged = counter.came  # with auto, before the handler is called
            return outcome

        return run

    @contextlib.contextmanager
    def auto(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter:
            yield self._run(case, "auto", starter)

    @contextlib.contextmanager
    def individual(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter:
            yield self._run(case, "client-individual", starter)

    @contextlib.contextmanager
    def one_thread(self, case: Case) -> Iterator[Run]:
        with Starter(case) as starter:
            yield self._run(case, "client-individual", starter, concurrency=1)
