"""Idle connections: dead ones are replaced before anybody notices, old ones are retired, and close() ends all."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from stomp_web import PoolClosed, PublishClientPool, StompError
from stomp_web.observers import Observers
from tests.client.scripted import eventually, news

DESCRIPTORS = pathlib.Path("/proc/self/fd")

# A program that ends while a global name still holds a pool with an open connection.
NEVER_CLOSED = """
import sys
from stomp_web import PublishClientPool

pool = PublishClientPool(sys.argv[1])
with pool.client() as client:
    client.send("/queue/a", b"x", confirm=True)
pool.itself = pool
"""


def send(pool, body=b"x"):
    with pool.client() as client:
        client.send("/queue/a", body, confirm=True)


def session_used(pool):
    """The session over which one message was sent."""
    with pool.client() as client:
        client.send("/queue/a", b"x", confirm=True)
        return client.state.session


class TestStale:
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_connection_that_the_broker_closed_is_replaced(self, broker, make_pool, reset):
        pool = make_pool()
        session = session_used(pool)
        broker.faults.close_connections(reset=reset)
        assert news(session)
        send(pool)
        assert (pool.stats().stale, pool.stats().size, pool.stats().opened) == (1, 1, 2)
        assert len(broker.messages("/queue/a")) == 2

    def test_a_connection_on_which_an_error_waits_is_replaced(self, broker, make_pool):
        pool = make_pool()
        session = session_used(pool)
        broker.faults.error_unasked(close=False)
        assert news(session)
        send(pool)
        assert pool.stats().stale == 1

    def test_heart_beats_mean_alive(self, broker, make_pool):
        pool = make_pool()
        session = session_used(pool)
        broker.faults.write(b"\n\r\n\n")
        assert news(session)
        send(pool)
        assert (pool.stats().stale, broker.connections_accepted) == (0, 1)

    def test_all_of_them_are_replaced_after_the_broker_was_away(self, broker, make_pool):
        pool = make_pool(max_size=3)
        with pool.client(), pool.client(), pool.client():
            pass
        broker.stop()
        broker.start()
        with pool.client() as one, pool.client() as two, pool.client() as three:
            for client in (one, two, three):
                client.send("/queue/a", b"", confirm=True)
        assert (pool.stats().stale, pool.stats().size) == (3, 3)


class TestAge:
    def test_a_connection_that_was_idle_for_too_long_is_replaced(self, broker, make_pool):
        pool = make_pool(max_idle=0.0001)
        assert eventually(lambda: send(pool) or pool.stats().retired == 1)
        assert broker.connections_accepted == 2

    def test_a_connection_that_is_too_old_is_replaced_though_it_is_used(self, broker, make_pool):
        pool = make_pool(max_lifetime=0.0001)
        assert eventually(lambda: send(pool) or pool.stats().retired == 2)
        assert broker.connections_accepted == 3

    def test_those_that_nobody_needs_any_more_are_closed_while_others_are_used(self, broker, make_pool):
        """After a rush, one connection is enough: the others must not stay open for ever."""
        pool = make_pool(max_idle=60, max_size=4)
        with pool.client(), pool.client(), pool.client(), pool.client():
            pass
        state = pool._states[os.getpid()]
        for lease in list(state.idle)[:3]:
            lease.idle_since -= 61  # a minute later
        state.upkeep_at = 0.0
        send(pool)
        assert pool.stats().size == 1
        assert broker.wait_until(lambda: broker.sessions == 1)
        assert pool.stats().retired == 3

    def test_a_young_one_is_kept(self, broker, make_pool):
        pool = make_pool(max_idle=60, max_lifetime=60)
        for _ in range(3):
            send(pool)
        assert (pool.stats().retired, broker.connections_accepted) == (0, 1)


class TestClose:
    def test_idle_connections_are_disconnected_in_order(self, broker, make_pool):
        pool = make_pool()
        with pool.client(), pool.client():
            pass
        pool.close()
        assert broker.received("DISCONNECT") == 2
        assert broker.wait_until(lambda: broker.sessions == 0)
        assert (pool.stats().size, pool.stats().idle) == (0, 0)

    def test_nothing_is_lent_any_more(self, broker, make_pool):
        pool = make_pool()
        pool.close()
        pool.close()
        with pytest.raises(PoolClosed, match="closed"), pool.client():
            pytest.fail("lent")
        assert broker.connections_accepted == 0

    def test_a_lent_client_is_closed_when_it_comes_back(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as client:
            pool.close()
            client.send("/queue/a", b"still", confirm=True)
        assert not client.connected
        assert pool.stats().size == 0
        assert len(broker.messages("/queue/a")) == 1

    def test_who_waits_is_told_at_once(self, broker, make_pool):
        pool = make_pool(max_size=1)
        failures = []

        def wait():
            try:
                with pool.client():
                    pass
            except StompError as error:
                failures.append(error)

        with pool.client():
            threads = [threading.Thread(target=wait) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert eventually(lambda: pool.stats().waiting == 3)
            pool.close()
            for thread in threads:
                thread.join(120)
            assert [type(failure) for failure in failures] == [PoolClosed] * 3
        assert (pool.stats().size, pool.stats().waiting) == (0, 0)

    def test_a_client_that_comes_back_while_the_pool_closes_is_not_kept(self, broker, make_pool, monkeypatch):
        pool = make_pool()
        loan = pool.client()
        client = loan.__enter__()
        reusable = type(client.state).is_reusable

        class Closing:
            def __get__(self, instance, owner=None):
                was_reusable = reusable.__get__(instance, owner)
                pool.close()
                return was_reusable

        with monkeypatch.context() as patch:
            patch.setattr(type(client.state), "is_reusable", Closing())
            loan.__exit__(None, None, None)
        assert (pool.stats().size, pool.stats().idle) == (0, 0)
        assert not client.connected

    def test_it_takes_no_longer_than_it_may(self, broker, make_pool):
        pool = make_pool()
        with pool.client(), pool.client(), pool.client():
            pass
        broker.faults.freeze()
        began = time.monotonic()
        pool.close(timeout=0.1)
        assert time.monotonic() - began < 30
        assert pool.stats().size == 0
        broker.faults.thaw()

    def test_leaving_the_block_closes(self, broker, make_pool):
        with make_pool() as pool:
            send(pool)
        with pytest.raises(PoolClosed):
            send(pool)


class TestObservers:
    def test_every_change_is_told(self, broker, make_pool):
        events = []
        pool = make_pool(observers=Observers([events.append]))
        session = session_used(pool)
        broker.faults.close_connections()
        assert news(session)
        broker.faults.close_before_receipt("SEND")
        with pytest.raises(StompError):
            send(pool)
        broker.faults.refuse()
        with pytest.raises(StompError):
            send(pool)
        pool.close()
        assert [event.change for event in events] == ["opened", "stale", "opened", "discarded", "connect_failed"]
        assert {event.broker for event in events} == {f"stomp://127.0.0.1:{broker.port}"}

    def test_an_observer_that_is_interrupted_costs_no_connection(self, broker, make_pool):
        def interrupt(event):
            if event.change in interrupted:
                raise KeyboardInterrupt

        interrupted = {"opened"}
        pool = make_pool(max_size=1, observers=Observers([interrupt]))
        with pytest.raises(KeyboardInterrupt):
            send(pool)
        stats = pool.stats()
        assert (stats.size, stats.idle) == (1, 1)
        interrupted = {"discarded"}
        with pytest.raises(KeyboardInterrupt), pool.client() as client:
            client.close()
        interrupted = set()
        assert pool.stats().size == 0
        send(pool)


class TestResources:
    @pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="the system does not list descriptors")
    def test_300_faults_leave_no_descriptor_and_no_thread_behind(self, broker, make_pool):
        pool = make_pool()
        send(pool)
        descriptors, threads = len(list(DESCRIPTORS.iterdir())), threading.active_count()
        broker.faults.drop("SEND", times=75)
        broker.faults.error("SEND", times=75)
        broker.faults.close_before_receipt("SEND", times=75, reset=True)
        broker.faults.garbage(on="SEND", times=75)
        for _ in range(300):
            with pytest.raises(StompError):
                send(pool)
        send(pool)
        assert broker.wait_until(lambda: broker.sessions == 1)
        assert len(list(DESCRIPTORS.iterdir())) <= descriptors + 2
        assert threading.active_count() == threads
        assert pool.stats().size == 1


class TestCheck:
    def test_a_broker_that_answers_is_healthy(self, broker, make_pool):
        health = make_pool().check()
        assert health
        assert health.ok
        assert (health.version, health.error) == ("1.2", None)
        assert health.server.startswith("stomp-web/")
        assert health.seconds < 60
        assert str(health).startswith(f"stomp://127.0.0.1:{broker.port} answered in ")
        assert broker.destinations() == []

    def test_a_broker_that_is_away_is_not(self, broker, make_pool):
        broker.faults.stop_listening()
        health = make_pool().check()
        assert not health
        assert "connection refused" in str(health) == health.error

    def test_a_broker_that_hangs_is_not(self, broker, make_pool):
        pool = make_pool()
        send(pool)
        broker.faults.freeze()
        began = time.monotonic()
        health = pool.check(0.05)
        assert time.monotonic() - began < 30
        assert not health.ok
        broker.faults.thaw()
        assert pool.check()

    def test_a_pool_with_no_client_to_spare_or_none_at_all_is_not(self, broker, make_pool):
        pool = make_pool(max_size=1)
        with pool.client():
            assert "in use" in str(pool.check(0.01))
        pool.close()
        assert "closed" in str(pool.check())


class TestErrorsToUnconfirmedMessages:
    """Nobody waits for them, so that they are logged."""

    @pytest.fixture
    def refused(self, broker, make_pool):
        """A pool whose one connection has an ERROR to be read; *max_lifetime* tells when it is too old."""

        def make(**options):
            broker.faults.error("SEND", "No such queue", close=False)
            pool = make_pool(**options)
            with pool.client() as client:
                client.send("/queue/a", b"1")
                assert news(client.state.session)
            return pool

        return make

    def test_when_the_pool_is_closed(self, refused, caplog):
        refused().close()
        assert "No such queue" in caplog.text

    def test_when_the_connection_is_retired(self, refused, caplog):
        pool = refused(max_lifetime=0.000001)
        with pool.client():
            pass
        assert "No such queue" in caplog.text


class Holder:
    """As an application, which holds the pool, and is part of a reference cycle."""

    def __init__(self, pool):
        self.pool = pool
        self.itself = self


class TestDropped:
    """Pools that are dropped without `close`. Warnings are errors here, also those of finalizers."""

    @pytest.mark.filterwarnings("error")
    def test_the_garbage_collector_closes_the_connections_without_a_warning(self, broker):
        gc.collect()
        gc.disable()  # so that this test decides when it runs
        try:
            holder = Holder(PublishClientPool(broker.url))
            send(holder.pool)
            assert broker.connections == 1
            del holder
            gc.collect()
        finally:
            gc.enable()
        assert eventually(lambda: not broker.connections)

    def test_the_end_of_the_program_closes_the_connections_without_a_warning(self, broker):
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", NEVER_CLOSED, broker.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert eventually(lambda: not broker.connections)
