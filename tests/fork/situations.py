"""What may be going on in a process at the moment when it forks, and what its children then do."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fork.family import Gate, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stomp_web import PublishClientPool, Publisher
    from stomp_web.publisher import PublisherStats
    from tests.fork.wire import Wire

PATIENCE = 150.0


@contextlib.contextmanager
def idle(pool: PublishClientPool) -> Iterator[None]:
    """A connection is open, and nobody has it."""
    _send(pool)
    yield


@contextlib.contextmanager
def on_loan(pool: PublishClientPool) -> Iterator[None]:
    """Another thread has a client, goes on with it after the fork, and gives it back."""
    with pool.client() as client:
        opened_by = client.session

    def use(begun: Callable[[], object], go_on: threading.Event) -> None:
        with pool.client() as client:
            client.send("/queue/parent", b"before", confirm=True)
            begun()
            assert go_on.wait(PATIENCE)
            client.send("/queue/parent", b"after", confirm=True)
            assert client.session == opened_by

    with _in_another_thread(use):
        yield


@contextlib.contextmanager
def connecting(pool: PublishClientPool) -> Iterator[None]:
    """Another thread is about to open a connection: it has a lease, and the one turn to connect."""
    _send(pool)

    def hold(begun: Callable[[], object], go_on: threading.Event) -> None:
        # No user can bring this about at will, so the test looks inside.
        state = pool._states[os.getpid()]
        lease, turn = state.vacant.pop(), state.connect_turn.take()
        begun()
        assert go_on.wait(PATIENCE)
        state.connect_turn.put(turn)
        state.put(lease)

    with _in_another_thread(hold):
        yield


@contextlib.contextmanager
def _in_another_thread(function: Callable[[Callable[[], object], threading.Event], None]) -> Iterator[None]:
    begun, go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function(begun.set, go_on)
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            failures.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        yield
    finally:
        go_on.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def _send(pool: PublishClientPool) -> None:
    with pool.client() as client:
        client.send("/queue/parent", b"before", confirm=True)


SITUATIONS = {"idle": idle, "on loan": on_loan, "connecting": connecting}


@dataclass
class Deeds:
    """What a child has done and found."""

    ids: list[str]
    inherited_at_first: set[int]
    """The parent's connections that it had before its first send."""
    inherited_at_last: set[int]
    stats: PublisherStats


def publish(publisher: Publisher, wire: Wire, inherited: set[int]) -> Callable[[], Deeds]:
    """What a child does: three confirmed sends, and a look at its descriptors before and after."""

    def work() -> Deeds:
        at_first = wire.connections() & inherited
        ids = [publisher.send("/queue/orders", {"pid": os.getpid()}) for _ in range(3)]
        return Deeds(ids, at_first, wire.connections() & inherited, publisher.stats())

    return work


def four_children_and_their_parent_publish(publisher: Publisher, wire: Wire, situation: str) -> list[Deeds]:
    """Fork four children in that situation; return what they have done. All ids of the parent are among the first's.

    It is checked here that five connections were open while five processes lived, and that the parent's own saw no
    byte of a child, nor its end.
    """
    with SITUATIONS[situation](publisher._backend._pool):
        (parents,) = wire.links
        inherited = wire.connections()
        assert len(inherited) == 1
        before = parents.bytes
        gate = Gate()
        children = [forked(publish(publisher, wire, inherited), gate) for _ in range(4)]
        reports: list[Deeds] = [child.report() for child in children]
        assert wire.wait_until(lambda: wire.open == 5)
        gate.open()
        for child in children:
            child.join()
        assert wire.wait_until(lambda: wire.open == 1)
        assert (parents.bytes, parents.ended) == (before, False)
    reports[0].ids += [publisher.send("/queue/orders", {"pid": os.getpid()}) for _ in range(3)]
    assert parents.bytes > before
    return reports
