"""After failed connects the pool fails fast for a while, one attempt at a time, and recovers; several brokers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import types

import pytest

from stomp_web import AuthenticationFailed, BrokerUnavailable, StompError
from stomp_web.broker import Broker
from stomp_web.pool import breaker as breaker_module
from stomp_web.pool.breaker import Breaker
from stomp_web.protocol import Frame
from tests.brokers.ports import free_ports, lasting_broker
from tests.client.scripted import PATIENCE, Server, eventually, news


def send(pool, **options):
    with pool.client(**options) as client:
        client.send("/queue/a", b"x", confirm=True)


@contextlib.contextmanager
def mute_in(phase):
    """The address of a server that says nothing, or nothing more, from this phase of a connection on."""
    with contextlib.ExitStack() as stack:
        if phase == "end of the answer":

            def script(peer):
                peer.expect("CONNECT")
                peer.write(b"CONNECTED\nversion:1.2\n")
                peer.wait_for_end()

            yield stack.enter_context(Server(script)).url
            return
        backlog = 0 if phase == "tcp" else 1000
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
        if phase == "tcp":  # the system takes one more connection than the backlog says, and lets the others wait
            stack.enter_context(socket.create_connection(listener.getsockname()))
        yield f"{'stomp+ssl' if phase == 'tls' else 'stomp'}://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def longest_pause(monkeypatch):
    """Every pause is as long as it may be, and none ends during the test."""
    now = time.monotonic()
    monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(breaker_module, "time", types.SimpleNamespace(monotonic=lambda: now))


class TestBreaker:
    @pytest.mark.usefixtures("longest_pause")
    def test_the_pause_doubles_up_to_a_limit(self):
        breaker = Breaker()
        pauses = []
        for _ in range(12):
            breaker.failed(BrokerUnavailable("away"))
            pauses.append(round(breaker.retry_after))
        assert pauses == [0, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30]

    def test_the_pause_is_drawn_anew_each_time(self):
        pauses = set()
        for _ in range(20):
            breaker = Breaker()
            breaker.failed(BrokerUnavailable("away"))
            assert 0 <= breaker.retry_after <= 0.5
            pauses.add(breaker.retry_after)
        assert len(pauses) > 10

    def test_a_success_ends_it(self):
        breaker = Breaker()
        breaker.failed(BrokerUnavailable("away"))
        breaker.succeeded()
        breaker.check("stomp://mq")
        assert breaker.retry_after is None

    @pytest.mark.usefixtures("longest_pause")
    def test_it_raises_what_was_said_and_when_the_next_attempt_is_made(self):
        breaker = Breaker()
        error = BrokerUnavailable("away")
        breaker.failed(error)
        assert error.retry_after == 0.5
        with pytest.raises(BrokerUnavailable, match=r"away \(it failed once, .*not tried now.*next attempt") as failure:
            breaker.check("stomp://mq")
        assert failure.value is not error
        assert 0 < failure.value.retry_after <= 0.5
        assert failure.value.broker == "stomp://mq"

    @pytest.mark.usefixtures("longest_pause")
    def test_it_says_how_often_it_was_tried(self):
        breaker = Breaker()
        breaker.failed(BrokerUnavailable("away"))
        breaker.failed(BrokerUnavailable("away"))
        with pytest.raises(BrokerUnavailable, match="it failed 2 times in a row"):
            breaker.check("stomp://mq")

    @pytest.mark.usefixtures("longest_pause")
    def test_refused_credentials_stay_refused_credentials(self):
        breaker = Breaker()
        breaker.failed(AuthenticationFailed("no", frame=Frame("ERROR")))
        with pytest.raises(AuthenticationFailed, match="no") as failure:
            breaker.check("stomp://mq")
        assert failure.value.frame == Frame("ERROR")


class TestSilence:
    """A broker that does not answer in the time that an attempt was given: `timed_out`."""

    def test_a_fair_share_of_time_is_a_failure(self):
        breaker = Breaker()
        error = BrokerUnavailable("mute")
        breaker.timed_out(error, 1.0, fair=1.0)
        assert breaker.retry_after is not None
        assert error.retry_after is not None

    def test_less_is_none(self):
        breaker = Breaker()
        breaker.timed_out(BrokerUnavailable("mute"), 0.9, fair=1.0)
        assert breaker.retry_after is None
        breaker.check("stomp://mq")

    def test_several_short_ones_together_are_one_and_then_each_is(self):
        breaker = Breaker()
        for _ in range(3):
            breaker.timed_out(BrokerUnavailable("mute"), 0.25, fair=1.0)
            assert breaker.retry_after is None
        for failures in (1, 2, 3):
            breaker.timed_out(BrokerUnavailable("mute"), 0.25, fair=1.0)
            assert breaker._failures == failures

    def test_a_success_in_between_begins_the_count_anew(self):
        breaker = Breaker()
        for _ in range(10):
            breaker.timed_out(BrokerUnavailable("mute"), 0.9, fair=1.0)
            breaker.succeeded()
        assert breaker.retry_after is None


class TestPool:
    @pytest.mark.parametrize("brokers", [1, 2])
    def test_a_mute_broker_is_left_alone_after_some_callers_with_little_time(
        self, broker, make_pool, monkeypatch, brokers
    ):
        """However short their deadlines are, not each of them waits for it for ever."""
        monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: 30)
        broker.faults.mute("CONNECT", times=None)
        pool = make_pool(
            url=broker.url + f",127.0.0.1:{broker.port}" * (brokers - 1), timeout=60.0, connect_timeout=30.0
        )
        for _ in range(200):
            with pytest.raises(BrokerUnavailable):
                send(pool, timeout=0.2)
            if pool.stats().retry_after is not None:
                break
        accepted = pool.stats().connect_errors * brokers
        assert broker.wait_until(lambda: broker.connections_accepted == accepted)
        # A fair share is one second for each broker.
        assert accepted >= 5 * brokers
        with pytest.raises(BrokerUnavailable, match="is not tried now"):
            send(pool, timeout=0.2)
        with pytest.raises(BrokerUnavailable, match="is not tried now"):
            send(pool)
        assert broker.connections_accepted == accepted

    @pytest.mark.parametrize("phase", ["tcp", "tls", "answer", "end of the answer"])
    def test_it_is_so_in_whatever_phase_of_connecting_the_broker_goes_mute(self, make_pool, monkeypatch, phase):
        monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: 30)
        with mute_in(phase) as url:
            pool = make_pool(url, timeout=60.0, connect_timeout=30.0)
            for _ in range(200):
                with pytest.raises(BrokerUnavailable):
                    send(pool, timeout=0.25)
                if pool.stats().retry_after is not None:
                    break
            with pytest.raises(BrokerUnavailable, match="is not tried now"):
                send(pool)

    def test_a_refusal_is_a_failure_however_little_time_there_was(self, broker, make_pool, monkeypatch):
        monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: 30)
        broker.faults.refuse(times=None)
        pool = make_pool(timeout=60.0, connect_timeout=30.0)
        with pytest.raises(BrokerUnavailable):
            send(pool, timeout=PATIENCE)  # less than half of what an attempt may take
        assert pool.stats().retry_after is not None

    @pytest.mark.usefixtures("longest_pause")
    def test_it_fails_fast_after_a_failure(self, broker, make_pool):
        broker.faults.refuse(times=None)
        pool = make_pool()
        for _ in range(20):
            with pytest.raises(BrokerUnavailable):
                send(pool)
        assert broker.connections_accepted == 1
        assert 0 < pool.stats().retry_after <= 0.5
        assert (pool.stats().connect_errors, pool.stats().size) == (1, 0)

    def test_it_recovers_when_the_pause_is_over(self, broker, make_pool, monkeypatch):
        monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: high / 10)
        broker.faults.refuse()
        pool = make_pool()
        with pytest.raises(BrokerUnavailable):
            send(pool)
        assert eventually(lambda: pool.stats().retry_after == 0.0)
        send(pool)
        assert pool.stats().retry_after is None

    @pytest.mark.usefixtures("longest_pause")
    def test_connections_that_are_open_go_on(self, broker, make_pool):
        pool = make_pool()
        with pool.client() as client:
            broker.faults.refuse(times=None)
            with pytest.raises(BrokerUnavailable):
                send(pool)
            client.send("/queue/a", b"", confirm=True)
        send(pool)

    def test_one_attempt_is_made_at_a_time(self, broker, make_pool, monkeypatch):
        monkeypatch.setattr(breaker_module.random, "uniform", lambda low, high: 30)
        broker.faults.mute("CONNECT", times=None)
        pool = make_pool(connect_timeout=0.2)
        failures = []

        def work():
            try:
                send(pool)
            except StompError as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert [type(failure) for failure in failures] == [BrokerUnavailable] * 8
        assert pool.stats().connect_errors == 1
        assert broker.wait_until(lambda: broker.connections_accepted == 1)

    @pytest.mark.usefixtures("longest_pause")
    def test_refused_credentials_are_not_tried_again_and_again(self):
        with Broker(login="user", passcode="right") as broker:
            from stomp_web import PublishClientPool

            with PublishClientPool(f"stomp://user:s3cret@127.0.0.1:{broker.port}") as pool:
                for _ in range(5):
                    with pytest.raises(AuthenticationFailed) as failure:
                        send(pool)
                    assert "s3cret" not in str(failure.value)
            assert broker.received("CONNECT") == 1

    @pytest.mark.usefixtures("longest_pause")
    def test_a_caller_in_a_hurry_does_not_make_the_others_fail(self, broker, make_pool):
        """A deadline too short for any broker says nothing about this one."""
        broker.faults.mute("CONNECT", times=None)
        pool = make_pool()
        with pytest.raises(BrokerUnavailable):
            send(pool, timeout=0.01)
        broker.faults.clear()
        send(pool)

    def test_who_waits_for_another_s_attempt_keeps_to_its_own_deadline(self, broker, make_pool):
        broker.faults.mute("CONNECT")
        pool = make_pool(connect_timeout=60)
        failures = []

        def first():
            try:
                send(pool)
            except StompError as error:
                failures.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        assert broker.wait_until(lambda: broker.received("CONNECT"))
        with pytest.raises(BrokerUnavailable, match="another call"):
            send(pool, timeout=0.02)
        assert thread.is_alive()
        broker.faults.close_connections()
        thread.join(120)
        assert len(failures) == 1
        assert pool.stats().size == 0

    @pytest.mark.usefixtures("longest_pause")
    def test_an_interrupted_attempt_leaves_the_pool_as_it_was(self, broker, make_pool, monkeypatch):
        pool = make_pool(max_size=1)

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("stomp_web.connection.transport.Transport.wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                send(pool)
        assert (pool.stats().size, pool.stats().retry_after) == (0, None)
        send(pool)


class TestFailover:
    def url(self, *ports):
        return "stomp://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    def test_a_broker_that_is_down_is_passed_over_and_the_good_one_remembered(self, broker, make_pool):
        (down,) = free_ports(1)
        pool = make_pool(self.url(down, broker.port))
        send(pool)
        with pool.client() as one, pool.client() as two:
            assert one.broker == two.broker == f"stomp://127.0.0.1:{broker.port}"
        assert pool.stats().connect_errors == 0

    def test_a_mute_broker_is_passed_over(self, broker, make_pool):
        with Broker() as mute:
            mute.faults.mute("CONNECT", times=None)
            send(make_pool(self.url(mute.port, broker.port), connect_timeout=3))

    def test_a_broker_that_accepts_and_closes_is_passed_over(self, broker, make_pool):
        with Broker() as closing:
            closing.faults.refuse(times=None)
            send(make_pool(self.url(closing.port, broker.port)))

    def test_when_the_good_one_goes_down_the_other_takes_over_and_keeps_the_place(self, broker, make_pool):
        with lasting_broker() as first:
            pool = make_pool(self.url(first.port, broker.port))
            with pool.client() as client:
                client.send("/queue/a", b"x", confirm=True)
                session = client.state.session
        assert news(session)
        send(pool)
        first.start()
        try:
            with pool.client(), pool.client():
                pass
            assert first.connections_accepted == 1
        finally:
            first.stop()

    def test_refused_credentials_are_not_tried_elsewhere(self, broker, make_pool):
        with Broker(login="user", passcode="right") as strict:
            pool = make_pool(self.url(strict.port, broker.port), login="user", passcode="wrong")
            with pytest.raises(AuthenticationFailed):
                send(pool)
        assert broker.connections_accepted == 0

    @pytest.mark.usefixtures("longest_pause")
    def test_when_all_are_down_it_names_all_and_fails_fast(self, make_pool):
        ports = free_ports(2)
        pool = make_pool(self.url(*ports))
        for _ in range(2):
            with pytest.raises(BrokerUnavailable) as failure:
                send(pool)
            assert all(str(port) in str(failure.value) for port in ports)
            assert failure.value.retry_after is not None

    def test_a_second_caller_may_use_what_a_first_one_opened(self, broker, make_pool):
        pool = make_pool(max_size=2)
        broker.faults.delay(0.05, "CONNECT", times=2)
        threads = [threading.Thread(target=send, args=(pool,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert eventually(lambda: len(broker.messages("/queue/a")) == 2)
