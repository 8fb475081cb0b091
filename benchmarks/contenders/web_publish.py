"""stomp-web sends: the client by itself, the pool, and the publisher that the frameworks expose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.contenders.memory import idle_run
from benchmarks.contenders.peak import peak_run
from benchmarks.frames import CONTENT_TYPE, HEADERS, body, payload
from benchmarks.outcome import Outcome, in_threads, repeat
from stomp_web import Message, PublishClient, PublishClientPool, Publisher

BATCH = 64
POOL = 8
#: Seconds: nobody is to run into it here.
TIMEOUT = 30.0


class Client(Contender):
    """`PublishClient`: one connection, one thread."""

    @contextlib.contextmanager
    def _client(self, case: Case) -> Iterator[PublishClient]:
        with PublishClient(case.host, case.port, login=case.login, passcode=case.passcode, timeout=TIMEOUT) as client:
            yield client

    @staticmethod
    def _finish(client: PublishClient, case: Case) -> Callable[[], int]:
        def finish() -> int:
            client.send(case.destination, b"", confirm=True)
            return 1

        return finish

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._client(case) as client:

            def call() -> None:
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE)

            yield lambda count: repeat(count, call, self._finish(client, case))

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._client(case) as client:

            def call() -> None:
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE, confirm=True)

            yield lambda count: repeat(count, call)

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._client(case) as client:

            def call() -> None:
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE)
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE)
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE, confirm=True)

            yield lambda count: repeat(count, call, sent=3)

    @contextlib.contextmanager
    def batch(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        with self._client(case) as client:

            def call() -> None:
                client.send_many(
                    [Message(case.destination, content, HEADERS, content_type=CONTENT_TYPE) for _ in range(BATCH)]
                )

            yield lambda count: repeat(count, call, self._finish(client, case), units=BATCH, sent=BATCH)

    @contextlib.contextmanager
    def batch_confirmed(self, case: Case) -> Iterator[Run]:
        content = body(case.size)
        with self._client(case) as client:

            def call() -> None:
                client.send_many(
                    [Message(case.destination, content, HEADERS, content_type=CONTENT_TYPE) for _ in range(BATCH)],
                    confirm=True,
                )

            yield lambda count: repeat(count, call, units=BATCH, sent=BATCH)

    @contextlib.contextmanager
    def connect(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination

        def call() -> None:
            with self._client(case) as client:
                client.send(destination, content, HEADERS, content_type=CONTENT_TYPE)

        yield lambda count: repeat(count, call)

    @contextlib.contextmanager
    def peak(self, case: Case) -> Iterator[Run]:
        with self._client(case) as client:
            content = body(case.size)
            yield peak_run(lambda: client.send(case.destination, content, HEADERS), case, self._finish(client, case))


class Pool(Contender):
    """`PublishClientPool` of 8: a client is borrowed for each message."""

    @contextlib.contextmanager
    def _pool(self, case: Case) -> Iterator[PublishClientPool]:
        with PublishClientPool(case.url, max_size=POOL, timeout=TIMEOUT) as pool:
            with contextlib.ExitStack() as loans:
                for _ in range(POOL if case.threads > 1 else 1):
                    loans.enter_context(pool.client())
            yield pool

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content, destination = body(case.size), case.destination
        with self._pool(case) as pool:

            def call() -> None:
                with pool.client() as client:
                    client.send(destination, content, HEADERS, content_type=CONTENT_TYPE, confirm=True)

            yield lambda count: in_threads(count, [call] * case.threads) if case.threads > 1 else repeat(count, call)

    @contextlib.contextmanager
    def idle(self, case: Case) -> Iterator[Run]:
        def open_some() -> object:
            pool = PublishClientPool(case.url, max_size=case.threads, timeout=TIMEOUT)
            with contextlib.ExitStack() as loans:
                for _ in range(case.threads):
                    loans.enter_context(pool.client())
            return pool

        yield idle_run(open_some, lambda pool: pool.close())  # type: ignore[attr-defined]


class WebPublisher(Contender):
    """`Publisher`: a small dict, written as JSON, confirmed unless told otherwise, through a pool of 8."""

    @contextlib.contextmanager
    def _publisher(self, case: Case) -> Iterator[Publisher]:
        with Publisher(case.url, pool_size=POOL, timeout=TIMEOUT) as publisher:
            yield publisher

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        content, destination = payload(case.size), case.destination
        with self._publisher(case) as publisher:
            warm_up_messages = warm_up(publisher, case)

            def call() -> None:
                publisher.send(destination, content, confirm=False)

            def finish() -> int:
                publisher.close(TIMEOUT)  # DISCONNECT with a receipt on each of its connections
                return warm_up_messages

            def run(count: int) -> Outcome:
                if case.threads == 1:
                    return repeat(count, call, finish)
                return in_threads(count, [call] * case.threads, finish=finish)

            yield run

    @contextlib.contextmanager
    def confirmed(self, case: Case) -> Iterator[Run]:
        content, destination = payload(case.size), case.destination
        with self._publisher(case) as publisher:
            warm_up_messages = warm_up(publisher, case)

            def call() -> None:
                publisher.send(destination, content)

            def run(count: int) -> Outcome:
                outcome = in_threads(count, [call] * case.threads) if case.threads > 1 else repeat(count, call)
                outcome.sent += warm_up_messages
                return outcome

            yield run

    @contextlib.contextmanager
    def three(self, case: Case) -> Iterator[Run]:
        content, destination = payload(case.size), case.destination
        with self._publisher(case) as publisher:

            def call() -> None:
                publisher.send(destination, content, confirm=False)
                publisher.send(destination, content, confirm=False)
                publisher.send(destination, content)

            yield lambda count: repeat(count, call, sent=3)

    @contextlib.contextmanager
    def batch(self, case: Case) -> Iterator[Run]:
        content = payload(case.size)
        with self._publisher(case) as publisher:

            def call() -> None:
                publisher.send_many([(case.destination, content)] * BATCH, confirm=False)

            def finish() -> int:
                publisher.close(TIMEOUT)
                return 0

            yield lambda count: repeat(count, call, finish, units=BATCH, sent=BATCH)

    @contextlib.contextmanager
    def batch_confirmed(self, case: Case) -> Iterator[Run]:
        content = payload(case.size)
        with self._publisher(case) as publisher:

            def call() -> None:
                publisher.send_many([(case.destination, content)] * BATCH)

            yield lambda count: repeat(count, call, units=BATCH, sent=BATCH)


def warm_up(publisher: Publisher, case: Case) -> int:
    """Have all the connections opened that the case will use, and return how many messages that took."""
    wanted = POOL if case.threads > 1 else 1
    sent = 0
    while sent < 100 * POOL:
        in_threads(wanted, [lambda: publisher.send(case.destination, None)] * wanted)
        sent += wanted
        pool = publisher.stats().pool
        if pool is not None and pool.size >= wanted:
            break
    return sent
