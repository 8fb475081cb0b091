"""What may be going on in a process at the moment when it forks."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stomp_web import PublishClient, PublishClientPool

PATIENCE = 5.0


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
def locked(pool: PublishClientPool) -> Iterator[None]:
    """Another thread holds every lock that the pool has."""
    _send(pool)

    def hold(begun: Callable[[], object], go_on: threading.Event) -> None:
        # No user can bring this about at will, so the test looks inside.
        with pool._state.connecting, pool._state.lock:
            begun()
            assert go_on.wait(PATIENCE)

    with _in_another_thread(hold):
        yield


@contextlib.contextmanager
def _in_another_thread(function: Callable[[Callable[[], object], threading.Event], None]) -> Iterator[None]:
    begun, go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function(begun.set, go_on)
        except BaseException as error:
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


def session_of(client: PublishClient) -> str | None:
    return client.session


SITUATIONS = {"idle": idle, "on loan": on_loan, "locked": locked}
