"""A fork: the child uses connections of its own, the parent's live on, and no inherited lock stops anybody."""

from __future__ import annotations

import os
import threading
import typing

import pytest

from stomp_web import NotSent
from stomp_web.connection import transport
from tests.client.scripted import PATIENCE, eventually

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def in_a_child(work: typing.Callable[[], object]) -> int:
    """Do *work* in a forked child; return its exit code, 0 if it raised nothing."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Unlisted:
    """Stands before the sockets of all transports, so that the hook after a fork finds none."""

    def __init__(self, sockets):
        self._sockets = sockets

    def __setitem__(self, reference, socket):
        self._sockets[reference] = socket

    def values(self):
        return ()


@pytest.fixture(params=["hook", "no hook"], autouse=True)
def forks(request, monkeypatch):
    """With the hook that runs after a fork, and without it, as under uWSGI, which does not call it."""
    if request.param == "no hook":
        monkeypatch.setattr(transport, "_sockets", Unlisted(transport._sockets))


@pytest.fixture
def recorder(serve):
    """A server that answers every receipt, and remembers per connection what came."""
    seen: list[list[bytes]] = []

    def script(peer):
        mine: list[bytes] = []
        seen.append(mine)
        peer.accept()
        while True:
            frame = peer.frame()
            mine.append(frame.body or frame.command.encode())
            if "receipt" in frame.headers:
                peer.receipt(frame)

    return serve(script), seen


def send(pool, body):
    with pool.client() as client:
        client.send("/queue/a", body, confirm=True)


def send_in_vain(pool):
    with pytest.raises(NotSent):
        send(pool, b"in vain")


def test_the_child_opens_its_own_connection_and_the_parent_s_lives_on(recorder, make_pool):
    server, seen = recorder
    pool = make_pool(server.url)
    send(pool, b"parent")

    def child():
        assert pool.stats().opened == 0
        send(pool, b"child")
        assert pool.stats().opened == 1
        pool.close()

    assert in_a_child(child) == 0
    send(pool, b"parent again")
    assert seen == [[b"parent", b"parent again"], [b"child", b"DISCONNECT"]]
    assert (pool.stats().opened, pool.stats().stale) == (1, 0)


def test_a_client_that_was_lent_when_the_process_forked_stays_the_parent_s(recorder, make_pool):
    server, seen = recorder
    pool = make_pool(server.url)
    with pool.client() as client:
        client.send("/queue/a", b"parent", confirm=True)

        def child():
            send(pool, b"child")

        assert in_a_child(child) == 0
        client.send("/queue/a", b"parent again", confirm=True)
    send(pool, b"and again")
    assert seen == [[b"parent", b"parent again", b"and again"], [b"child"]]


def test_a_fork_inside_a_loan_gives_the_child_nothing_back(broker, make_pool):
    pool = make_pool(max_size=1)
    pid = None
    with pool.client():
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            stats = pool.stats()
            assert (stats.size, stats.idle) == (0, 0)
            send(pool, b"child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    send(pool, b"parent")
    assert broker.connections_accepted == 2


def test_a_thread_that_was_connecting_when_the_process_forked_keeps_no_turn_in_the_child(broker, make_pool):
    """One attempt to connect is made at a time; the child does not wait for that of its parent."""
    pool = make_pool()
    broker.faults.mute("CONNECT")
    thread = threading.Thread(target=send_in_vain, args=(pool,))
    thread.start()
    assert broker.wait_until(lambda: broker.received("CONNECT") == 1)
    assert in_a_child(lambda: (send(pool, b"child"), pool.stats(), pool.close())) == 0
    broker.faults.close_connections()
    thread.join(PATIENCE)
    assert [frame.body for frame in broker.messages("/queue/a")] == [b"child"]


def test_waiters_of_the_parent_do_not_stand_in_the_child_s_line(broker, make_pool):
    pool = make_pool(max_size=1)
    with pool.client():
        thread = threading.Thread(target=send, args=(pool, b"parent"))
        thread.start()
        assert eventually(lambda: pool.stats().waiting == 1)
        assert in_a_child(lambda: send(pool, b"child")) == 0
    thread.join(120)
    assert sorted(frame.body for frame in broker.messages("/queue/a")) == [b"child", b"parent"]


def test_the_child_closes_the_inherited_descriptors_when_it_uses_the_pool(broker, make_pool):
    pool = make_pool()
    with pool.client() as one, pool.client() as two:
        numbers = [client.state.session.transport.fileno() for client in (one, two)]

    def child():
        pool.stats()
        for number in numbers:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(number)

    assert in_a_child(child) == 0
    send(pool, b"parent")


def test_the_breaker_of_the_parent_is_not_the_child_s(broker, make_pool, monkeypatch):
    monkeypatch.setattr("stomp_web.pool.breaker.random.uniform", lambda low, high: 30)
    broker.faults.refuse()
    pool = make_pool()
    with pytest.raises(NotSent):
        send(pool, b"parent")
    assert in_a_child(lambda: send(pool, b"child")) == 0


def test_a_child_of_the_child_has_its_own_too(broker, make_pool):
    pool = make_pool()
    send(pool, b"parent")

    def child():
        send(pool, b"child")
        assert in_a_child(lambda: send(pool, b"grandchild")) == 0
        send(pool, b"child again")

    assert in_a_child(child) == 0
    assert broker.connections_accepted == 3
    assert len(broker.messages("/queue/a")) == 4
