"""Lending: lazily, exclusively, in order, within the deadline; and what becomes of a client that comes back."""

from __future__ import annotations

import _thread
import functools
import gc
import os
import signal
import threading
import time
import types

import pytest

from stomp_web import (
    ConfigurationError,
    Message,
    NotSent,
    PoolClosed,
    PoolTimeout,
    PublishClientPool,
    Publisher,
    Rejected,
    StompError,
)
from stomp_web._internal.box import Box
from stomp_web.connection.deadline import Deadline
from tests.client.scripted import PATIENCE, eventually


def _raise_time_limit(*_):
    raise RuntimeError("time limit")


def send(pool, body=b"x"):
    with pool.client() as client:
        client.send("/queue/a", body, confirm=True)


class TestLaziness:
    def test_nothing_is_opened_before_the_first_loan(self, broker, make_pool):
        pool = make_pool()
        pool.stats()
        assert "127.0.0.1" in repr(pool)
        assert broker.connections_accepted == 0

    def test_a_client_is_lent_connected(self, broker, make_pool):
        with make_pool().client() as client:
            assert client.connected
            assert client.version == "1.2"

    def test_one_borrower_after_the_other_shares_one_connection(self, broker, make_pool):
        pool = make_pool()
        for _ in range(5):
            send(pool)
        assert broker.connections_accepted == 1

    def test_no_thread_is_started(self, broker, make_pool):
        before = threading.active_count()
        send(make_pool())
        assert threading.active_count() == before


class TestExclusivity:
    def test_two_borrowers_have_two_clients(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as one, pool.client() as two:
            assert one is not two
        assert broker.connections_accepted == 2

    def test_no_more_are_opened_than_allowed(self, broker, make_pool):
        pool = make_pool(max_size=3)
        together = threading.Barrier(8)
        seen = []

        def work():
            together.wait(PATIENCE)
            for _ in range(20):
                with pool.client() as client:
                    seen.append(client)
                    client.send("/queue/a", b"", confirm=True)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(broker.messages("/queue/a")) == 160
        assert len(set(seen)) <= 3
        assert broker.connections_accepted <= 3


class TestWaiting:
    def test_a_client_that_comes_back_goes_to_who_waits(self, make_pool):
        pool = make_pool(max_size=1)
        got = []

        def wait():
            with pool.client() as client:
                got.append(client)

        with pool.client() as mine:
            thread = threading.Thread(target=wait)
            thread.start()
            assert eventually(lambda: pool.stats().waiting == 1)
        thread.join(120)
        assert got == [mine]

    def test_first_come_first_served(self, make_pool):
        pool = make_pool(max_size=1)
        order = []

        def wait(number):
            with pool.client():
                order.append(number)

        threads = []
        with pool.client():
            for number in range(5):
                threads.append(threading.Thread(target=wait, args=(number,)))
                threads[-1].start()
                assert eventually(lambda expected=number + 1: pool.stats().waiting == expected)
        for thread in threads:
            thread.join(120)
        assert order == [0, 1, 2, 3, 4]

    def test_who_waits_gets_the_place_of_a_client_that_broke(self, broker, make_pool):
        pool = make_pool(max_size=1)
        done = threading.Event()

        def wait():
            send(pool)
            done.set()

        with pool.client() as client:
            thread = threading.Thread(target=wait)
            thread.start()
            assert eventually(lambda: pool.stats().waiting == 1)
            client.close()
        assert done.wait(PATIENCE)
        thread.join(120)
        assert broker.connections_accepted == 2

    def test_past_the_deadline_it_is_a_pool_timeout_that_says_what_to_do(self, broker, make_pool):
        pool = make_pool(max_size=1)
        with pool.client():
            began = time.monotonic()
            with pytest.raises(PoolTimeout, match=r"0\.05 s.*pool_size") as failure, pool.client(0.05):
                pytest.fail("lent twice")
            assert time.monotonic() - began < 30
        assert isinstance(failure.value, NotSent)
        assert failure.value.broker == pool.url
        assert pool.stats().timeouts == 1
        send(pool)
        assert broker.connections_accepted == 1

    def test_too_many_waiters_are_turned_away_at_once(self, make_pool):
        pool = make_pool(max_size=1, max_waiting=1)
        with pool.client():
            thread = threading.Thread(target=send, args=(pool,))
            thread.start()
            assert eventually(lambda: pool.stats().waiting == 1)
            began = time.monotonic()
            with pytest.raises(PoolTimeout, match="max_waiting"), pool.client():
                pytest.fail("lent twice")
            assert time.monotonic() - began < 30
        thread.join(120)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
    def test_a_timeout_that_is_none_takes_no_client(self, broker, make_pool, timeout):
        pool = make_pool(max_size=1)
        with pytest.raises(ConfigurationError), pool.client(timeout):
            pass
        assert pool.stats().size == 0

    @pytest.mark.parametrize("served", [False, True])
    def test_an_interrupted_waiter_leaves_the_line_and_takes_nothing_with_it(self, make_pool, monkeypatch, served):
        pool = make_pool(max_size=1)
        loan = pool.client()
        loan.__enter__()

        class Interrupted(Box):
            """A box; the wait for what it gets is interrupted, before or after the waiter was served."""

            def get(self, seconds):
                if served:
                    loan.__exit__(None, None, None)
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("stomp_web.pool.leases.Box", Interrupted)
            with pytest.raises(KeyboardInterrupt), pool.client():
                pytest.fail("lent twice")
        if not served:
            loan.__exit__(None, None, None)
        stats = pool.stats()
        assert (stats.waiting, stats.lent, stats.size, stats.idle) == (0, 0, 1, 1)
        send(pool)
        assert pool.stats().opened == 1

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals with a timer")
    def test_a_signal_handler_that_runs_until_after_the_deadline_delays_only_by_its_own_time(self, make_pool):
        pool = make_pool(max_size=1)
        over = threading.Event()
        late: list[float] = []

        def answer(*_):
            # `queue.SimpleQueue` of CPython 3.11 and 3.12 would go on waiting after this, without a limit.
            while not deadline.expired:
                over.wait(0.01)

        def let_go():
            late.append(over.wait(PATIENCE))
            loan.__exit__(None, None, None)

        loan = pool.client()
        loan.__enter__()
        rescuer = threading.Thread(target=let_go)
        before = signal.signal(signal.SIGALRM, answer)
        try:
            deadline = Deadline(0.3)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            rescuer.start()
            with pytest.raises(PoolTimeout), pool.client(0.3):
                pytest.fail("lent twice")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            over.set()
            rescuer.join(2 * PATIENCE)
        assert late == [True]  # the caller gave up by itself, and not because the connection came back

    def test_what_a_signal_handler_raises_while_a_waiting_caller_is_served_is_not_dropped(self):
        box: Box[int] = Box()
        before = signal.signal(signal.SIGUSR1, _raise_time_limit)
        try:
            # The handler runs as soon as the release of the latch has returned.
            box._latch = types.SimpleNamespace(release=functools.partial(_thread.interrupt_main, signal.SIGUSR1))
            with pytest.raises(RuntimeError, match="time limit"):
                box.put(1)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_waits_that_end_in_the_middle_of_each_other_are_all_counted(self, make_pool, monkeypatch):
        pool = make_pool(max_size=1)
        clock = time.monotonic
        nested: list[float] = []

        def monotonic():
            now = clock()
            if not nested:  # as a signal handler or another thread may run after each call
                nested.append(0.0)
                with pytest.raises(PoolTimeout), pool.client(0.2):
                    pytest.fail("lent twice")
                nested.append(pool.stats().wait_seconds)
            return now

        with pool.client():
            state = pool._states[os.getpid()]
            place = type(state).leave

            def leave(self, waiter):
                monkeypatch.setattr(type(state), "leave", place)
                monkeypatch.setattr("stomp_web.pool.pool.monotonic", monotonic)  # the next look at the clock
                place(self, waiter)

            monkeypatch.setattr(type(state), "leave", leave)
            with pytest.raises(PoolTimeout), pool.client(0.1):
                pytest.fail("lent twice")
        assert nested[1] > 0.0
        assert pool.stats().wait_seconds > nested[1]

    def test_a_caller_that_comes_in_the_middle_of_a_return_does_not_overtake_the_line(self, make_pool, monkeypatch):
        pool = make_pool(max_size=1)
        order = []

        def use(name):
            with pool.client():
                order.append(name)

        state = pool._states[os.getpid()]
        serve = type(state).serve

        def come_first(self):
            monkeypatch.setattr(type(state), "serve", serve)
            use("newcomer")
            serve(self)

        with pool.client():
            waiter = threading.Thread(target=use, args=("waiter",))
            waiter.start()
            assert eventually(lambda: pool.stats().waiting == 1)
            monkeypatch.setattr(type(state), "serve", come_first)
        waiter.join(PATIENCE)
        assert order == ["waiter", "newcomer"]

    @pytest.mark.parametrize("looks", [1, 2])
    def test_a_client_that_comes_back_when_a_waiter_gives_up_is_had_by_it_or_by_the_next_one(
        self, make_pool, monkeypatch, looks
    ):
        monkeypatch.setattr("stomp_web.pool.pool._LOOK_AGAIN", 4 * PATIENCE)
        pool = make_pool(max_size=1)
        loan = pool.client()
        loan.__enter__()
        others = []

        class Late(Box):
            """A box in which nothing is found so many times, and then a client comes back."""

            looks = 0

            def get(self, seconds):
                self.looks += 1
                if self.looks > looks:
                    return super().get(seconds)
                never.wait(seconds)
                if self.looks == looks:
                    loan.__exit__(None, None, None)
                return None

        def stand_behind():
            monkeypatch.setattr("stomp_web.pool.leases.Box", Box)
            with pool.client(3 * PATIENCE):
                others.append("served")

        never = threading.Event()
        other = threading.Thread(target=stand_behind)
        monkeypatch.setattr("stomp_web.pool.leases.Box", Late)
        waiter_s = pool.client(1)
        monkeypatch.setattr(never, "wait", lambda timeout, wait=never.wait: begin(wait, timeout))

        def begin(wait, timeout):
            if other.ident is None:
                other.start()
                assert eventually(lambda: pool.stats().waiting == 2)
            wait(timeout)

        if looks == 1:
            with waiter_s:
                pass
        else:
            with pytest.raises(PoolTimeout), waiter_s:
                pytest.fail("lent")
        other.join(PATIENCE)
        assert others == ["served"]
        assert (pool.stats().lent, pool.stats().waiting, pool.stats().idle) == (0, 0, 1)

    def test_of_many_callers_at_once_just_so_many_wait_as_may(self, make_pool):
        pool = make_pool(max_size=1, max_waiting=2)
        together = threading.Barrier(9)
        refused, served = [], []

        def ask():
            together.wait(PATIENCE)
            try:
                with pool.client():
                    served.append(1)
            except PoolTimeout as error:
                refused.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        with pool.client():
            together.wait(PATIENCE)
            assert eventually(lambda: len(refused) == 6)
            assert pool.stats().waiting == 2
        for thread in threads:
            thread.join(PATIENCE)
        assert (len(served), len(refused)) == (2, 6)
        assert all("max_waiting" in words for words in refused)

    def test_a_waiter_that_is_served_while_the_pool_closes_leaves_no_connection_open(
        self, broker, make_pool, monkeypatch
    ):
        pool = make_pool(max_size=1)
        loan = pool.client()
        loan.__enter__()

        class Served(Box):
            def get(self, seconds):
                loan.__exit__(None, None, None)  # it lies in the box now
                pool.close()
                return super().get(seconds)

        with monkeypatch.context() as patch:
            patch.setattr("stomp_web.pool.leases.Box", Served)
            with pytest.raises(PoolClosed), pool.client():
                pytest.fail("lent")
        assert (pool.stats().size, pool.stats().idle) == (0, 0)
        assert broker.wait_until(lambda: broker.sessions == 0)


class TestALeaseThatIsDropped:
    """As by an interrupt between two steps. Whoever holds it, the pool gets it back when it is collected."""

    def test_its_place_is_free_again_and_its_connection_closed(self, broker, make_pool):
        pool = make_pool(max_size=1)
        lease = pool.acquire(Deadline(PATIENCE))
        kept = lease.client
        assert pool.stats().lent == 1
        del lease
        stats = pool.stats()
        assert (stats.lent, stats.size, stats.discarded) == (0, 0, 1)
        assert broker.wait_until(lambda: broker.sessions == 0)
        with pytest.raises(PoolClosed, match="no longer"):
            kept.send("/queue/a", b"x")
        send(pool)

    def test_the_next_one_in_line_gets_its_place_at_once(self, make_pool, monkeypatch):
        monkeypatch.setattr("stomp_web.pool.pool._LOOK_AGAIN", 4 * PATIENCE)
        pool = make_pool(max_size=1, timeout=3 * PATIENCE)
        lease = pool.acquire(Deadline(PATIENCE))
        waiter = threading.Thread(target=send, args=(pool,))
        waiter.start()
        assert eventually(lambda: pool.stats().waiting == 1)
        del lease
        waiter.join(PATIENCE)
        assert not waiter.is_alive()

    # What is collected in a cycle is finalized in any order; the socket may say that it was never closed.
    @pytest.mark.filterwarnings("ignore:Exception ignored.*socket.socket:pytest.PytestUnraisableExceptionWarning")
    def test_a_pool_that_is_collected_with_its_leases_closes_its_connections(self, broker):
        pool = PublishClientPool(broker.url)
        cycle = [pool, pool.acquire(Deadline(PATIENCE))]
        with pool.client(), pool.client():
            pass
        cycle.append(cycle)
        del pool, cycle
        gc.collect()
        assert broker.wait_until(lambda: broker.sessions == 0)


class TestReturn:
    def test_an_exception_of_the_borrower_s_own_keeps_a_good_connection(self, broker, make_pool):
        pool = make_pool()
        with pytest.raises(KeyError), pool.client() as client:  # noqa: PT012
            client.send("/queue/a", b"", confirm=True)
            raise KeyError
        send(pool)
        assert broker.connections_accepted == 1

    @pytest.mark.parametrize("fault", ["error", "close_before_receipt", "mute", "drop", "garbage"])
    def test_a_fault_discards_the_connection(self, broker, make_pool, fault):
        pool = make_pool()
        getattr(broker.faults, fault)("SEND")
        with pytest.raises(StompError), pool.client() as client:
            client.send("/queue/a", b"", confirm=True, timeout=1)
        assert (pool.stats().discarded, pool.stats().size) == (1, 0)
        send(pool)
        assert broker.connections_accepted == 2

    def test_an_interruption_in_mid_conversation_discards_the_connection(self, broker, make_pool, monkeypatch):
        pool = make_pool()

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), pool.client() as client, monkeypatch.context() as patch:  # noqa: PT012
            patch.setattr("stomp_web.connection.session.Session.receipts_in_order", interrupt)
            client.send("/queue/a", b"", confirm=True)
        assert (pool.stats().size, pool.stats().lent) == (0, 0)
        send(pool)

    def test_an_open_transaction_discards_the_connection(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as client:
            client.send("/queue/a", b"never committed", transaction=client.begin())
        assert pool.stats().discarded == 1
        send(pool, b"next")
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"next"]

    def test_a_client_that_became_somebody_else_is_not_lent_on(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as client:
            client.connect("other", "s3cret")
        with pool.client():
            assert "login" not in broker.connects[-1].headers

    def test_a_disconnected_client_is_not_lent_on(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as client:
            client.disconnect()
        send(pool)
        assert broker.connections_accepted == 2

    def test_a_generator_that_is_thrown_away_gives_its_client_back(self, make_pool):
        pool = make_pool(max_size=1)

        def work():
            with pool.client() as client:
                yield client

        generator = work()
        next(generator)
        assert pool.stats().lent == 1
        generator.close()
        assert pool.stats().lent == 0
        send(pool)


class TestClientOptions:
    def test_the_pool_s_options_are_its_clients_(self, broker, make_pool):
        pool = make_pool(login="user", passcode="s3cret", vhost="localhost", connect_headers={"client-id": "me"})
        with pool.client():
            headers = broker.connects[-1].headers
        assert (headers["login"], headers["host"], headers["client-id"]) == ("user", "localhost", "me")
        assert "s3cret" not in repr(pool) + pool.url + repr(vars(pool))

    def test_a_pool_may_confirm_all(self, broker, make_pool):
        broker.faults.mute("SEND")
        with pytest.raises(StompError), make_pool(confirm=True).client() as client:
            client.send("/queue/a", b"", timeout=0.05)

    def test_options_may_stand_in_the_address(self, broker):
        pool = PublishClientPool(f"{broker.url}?pool_size=3&timeout=2&max_waiting=4&max_idle=5&max_lifetime=6")
        assert (pool.max_size, pool.timeout, pool.max_waiting) == (3, 2.0, 4)
        assert (pool.max_idle, pool.max_lifetime) == (5.0, 6.0)

    def test_keywords_win_over_the_address(self, broker):
        assert PublishClientPool(f"{broker.url}?pool_size=3", max_size=4).max_size == 4

    @pytest.mark.parametrize("options", [{"max_size": 0}, {"timeout": 0}, {"max_idle": "x"}, {"max_waiting": -1}])
    def test_a_bad_value_is_refused(self, options):
        with pytest.raises(ConfigurationError):
            PublishClientPool("stomp://mq", **options)

    @pytest.mark.parametrize("options", [{"max_sise": 3}, {"persistent": True}, {"url": "x"}])
    def test_an_unknown_option_is_refused(self, options):
        with pytest.raises((ConfigurationError, TypeError)):
            PublishClientPool("stomp://mq", **options)

    @pytest.mark.parametrize("scheme", ["memory", "console", "null"])
    def test_an_address_for_development_is_for_publishers(self, scheme):
        with pytest.raises(ConfigurationError, match="Publisher"):
            PublishClientPool(f"{scheme}://")


class TestStats:
    def test_the_numbers_tell_what_happened(self, broker, make_pool):
        pool = make_pool(max_size=2)
        assert pool.stats().loans == 0
        with pool.client():
            stats = pool.stats()
            assert (stats.max_size, stats.size, stats.idle, stats.lent) == (2, 1, 0, 1)
            assert (stats.loans, stats.opened, stats.waiting) == (1, 1, 0)
        stats = pool.stats()
        assert (stats.size, stats.idle, stats.lent) == (1, 1, 0)
        assert stats.retry_after is None

    def test_only_clients_that_were_lent_count_as_loans(self, broker, make_pool):
        pool = make_pool(max_size=1)
        with pool.client(), pytest.raises(PoolTimeout), pool.client(0.01):
            pass
        broker.faults.refuse(times=None)
        broker.faults.close_connections()
        other = make_pool()
        with pytest.raises(NotSent), other.client():
            pass
        assert (pool.stats().loans, other.stats().loans) == (1, 0)
        assert other.stats().connect_errors == 1

    def test_they_add_up_under_32_threads_and_faults(self, broker, make_pool):
        pool = make_pool(max_size=4)
        loans = []
        broker.faults.close_before_receipt("SEND", after=10, times=5)
        together = threading.Barrier(33)

        def work(number):
            together.wait(PATIENCE)
            for turn in range(10):
                try:
                    with pool.client() as client:
                        loans.append(1)
                        client.send("/queue/a", f"{number}.{turn}", confirm=True)
                        if number % 8 == 0:
                            client.send_many([Message("/queue/b")] * 3, confirm=True)
                except StompError:
                    pass

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        together.wait(PATIENCE)
        while any(thread.is_alive() for thread in threads):
            stats = pool.stats()
            assert 0 <= stats.lent <= stats.size <= 4
            assert stats.idle + stats.lent == stats.size
            threads[0].join(0.001)
            next((thread for thread in threads if thread.is_alive()), threads[0]).join(0.001)
        stats = pool.stats()
        assert (stats.lent, stats.waiting, stats.timeouts) == (0, 0, 0)
        assert stats.loans == len(loans) == 320
        assert stats.opened - stats.discarded - stats.stale == stats.size
        assert broker.connections_accepted == stats.opened
        bodies = [frame.body for frame in broker.messages("/queue/a")]
        assert len(bodies) == len(set(bodies))


class TestAClientThatIsKept:
    def test_it_opens_no_connection_of_its_own_after_the_pool_was_closed(self, broker):
        pool = PublishClientPool(broker.url)
        with pool.client() as kept:
            kept.send("/queue/kept", b"1", confirm=True)
        pool.close()
        with pytest.raises(PoolClosed, match="no longer"):
            kept.send("/queue/kept", b"2", confirm=True)
        assert broker.connections_accepted == 1
        assert len(broker.messages("/queue/kept")) == 1

    def test_nor_after_the_pool_has_discarded_it(self, broker):
        with PublishClientPool(broker.url) as pool:
            broker.faults.error("SEND")
            with pytest.raises(Rejected), pool.client() as kept:
                kept.send("/queue/kept", b"1", confirm=True)
            with pytest.raises(PoolClosed, match="no longer"):
                kept.send("/queue/kept", b"2", confirm=True)


def test_a_release_that_is_interrupted_after_it_was_done_takes_the_client_from_no_other_caller(broker):
    """An observer is called at the end of a release, and Ctrl-C may come in it."""
    taken = threading.Event()

    def observe(event):
        if getattr(event, "change", "") == "opened" and threading.current_thread() is threading.main_thread():
            assert taken.wait(PATIENCE)
            raise KeyboardInterrupt

    with Publisher(broker.url, pool_size=1, observers=[observe], timeout=PATIENCE) as publisher:
        failures: list[Exception] = []
        release = threading.Event()

        def other() -> None:
            pool = publisher._backend._pool
            assert eventually(lambda: pool.stats().idle == 1)
            try:
                with pool.client() as client:
                    taken.set()
                    assert release.wait(PATIENCE)
                    client.send("/queue/a", b"2", confirm=True)
            except StompError as error:
                failures.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            publisher.send("/queue/a", 1)
        release.set()
        thread.join(PATIENCE)
        assert not failures
        assert (publisher.stats().pool.opened, publisher.stats().pool.idle) == (1, 1)
