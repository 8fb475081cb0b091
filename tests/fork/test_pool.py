"""The pool, in a parent and in four children, whatever the parent was doing when it forked."""

from __future__ import annotations

import threading

import pytest

from stomp_web import NotSent, PublishClientPool
from tests.fork.family import in_a_child
from tests.fork.situations import SITUATIONS, four_children_and_their_parent_publish, publish
from tests.fork.wire import PATIENCE


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("broker", ["tcp", "tls"], indirect=True)
def test_four_children_and_the_parent_publish_each_over_a_connection_of_its_own(broker, wire, publisher, situation):
    reports = four_children_and_their_parent_publish(publisher, wire, situation)

    for report in reports:
        assert (report.inherited_at_first, report.inherited_at_last) == (set(), set())
        assert (report.stats.sent, report.stats.confirmed) == (3, 3)
        assert (report.stats.pool.opened, report.stats.pool.size) == (1, 1)
    ids = [each for report in reports for each in report.ids]
    assert len(set(ids)) == 15
    assert sorted(ids) == sorted(frame.headers["x-message-id"] for frame in broker.messages("/queue/orders"))
    assert broker.connections_accepted == 5
    assert broker.received("DISCONNECT") == 0
    assert (publisher.stats().pool.opened, publisher.stats().pool.stale) == (1, 0)


def test_a_child_of_a_child_has_a_connection_of_its_own(broker, wire, publisher):
    publisher.send("/queue/orders", "parent")
    inherited = wire.connections()

    def child():
        mine = publisher.send("/queue/orders", "child")
        from_both = inherited | wire.connections()
        below = in_a_child(publish(publisher, wire, from_both))
        return [mine, *below.ids, publisher.send("/queue/orders", "child")], below.inherited_at_first

    ids, inherited_by_grandchild = in_a_child(child)
    publisher.send("/queue/orders", "parent")

    assert inherited_by_grandchild == set()
    assert len(set(ids)) == 5
    assert len(broker.messages("/queue/orders")) == 7
    assert broker.connections_accepted == 3


def test_a_child_that_sends_nothing_closes_what_it_inherited(wire, publisher):
    publisher.send("/queue/orders", 1)
    inherited = wire.connections()
    assert len(inherited) == 1
    assert in_a_child(lambda: wire.connections() & inherited) == set()
    assert not wire.links[0].ended


def test_a_connection_that_is_being_opened_is_closed_in_the_child(broker, wire, publisher):
    broker.faults.mute("CONNECT")

    def send_in_vain():
        with pytest.raises(NotSent):
            publisher.send("/queue/orders", 1)

    thread = threading.Thread(target=send_in_vain)
    thread.start()
    assert broker.wait_until(lambda: broker.received("CONNECT"))
    inherited = wire.connections()
    assert len(inherited) == 1

    report = in_a_child(publish(publisher, wire, inherited))

    assert len(report.ids) == 3
    assert report.inherited_at_first == set()
    assert not wire.links[0].ended
    broker.faults.close_connections()
    thread.join(120)


def test_waiters_in_line_are_the_parents(broker, wire, address):
    with PublishClientPool(address, max_size=1, timeout=PATIENCE) as pool:
        served = []

        def wait():
            with pool.client() as client:
                client.send("/queue/parent", b"waited", confirm=True)
                served.append(client.session)

        waiter = threading.Thread(target=wait)
        with pool.client() as client:
            session = client.session
            waiter.start()
            while not pool.stats().waiting:
                waiter.join(0.001)

            def child():
                with pool.client() as own:
                    own.send("/queue/child", b"not kept waiting", confirm=True)
                return pool.stats()

            stats = in_a_child(child)
        waiter.join(120)
        assert (stats.waits, stats.waiting, stats.lent, stats.loans) == (0, 0, 0, 1)
        assert served == [session]
        assert broker.connections_accepted == 2


def test_many_threads_may_be_the_first_in_a_child(broker, wire, publisher):
    publisher.send("/queue/orders", 0)

    def child():
        barrier = threading.Barrier(8)
        ids = []

        def send():
            barrier.wait(PATIENCE)
            ids.append(publisher.send("/queue/orders", 1))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return ids, publisher.stats()

    ids, stats = in_a_child(child)
    assert len(set(ids)) == 8
    # Not one was counted elsewhere: all eight have found the same pool and the same counts.
    assert (stats.sent, stats.confirmed, stats.pool.loans) == (8, 8, 8)
    assert stats.pool.size == stats.pool.idle <= 8


class TestAForkDuringALoan:
    """The thread that forks has the client itself, as in ``with pool.client(): os.fork()``."""

    def test_the_child_goes_on_over_a_connection_of_its_own_and_closes_it_at_the_end_of_the_loan(
        self, broker, wire, pool
    ):
        def child():
            client.send("/queue/child", b"1", confirm=True)
            own = wire.connections() - inherited
            loan.__exit__(None, None, None)
            with pool.client() as another:
                another.send("/queue/child", b"2", confirm=True)
            return len(own), wire.connections() & (own | inherited), pool.stats().size

        loan = pool.client()
        with loan as client:
            client.send("/queue/parent", b"1", confirm=True)
            inherited = wire.connections()
            before = wire.links[0].bytes
            opened, left_open, size = in_a_child(child)
            assert (wire.links[0].bytes, wire.links[0].ended) == (before, False)
            client.send("/queue/parent", b"2", confirm=True)
        assert (opened, left_open, size) == (1, set(), 1)
        assert len(broker.messages("/queue/child")) == len(broker.messages("/queue/parent")) == 2
        assert broker.connections_accepted == 3
        assert pool.stats().idle == 1

    def test_a_transaction_is_the_parents(self, broker, wire, pool):
        def child():
            with pytest.raises(NotSent) as caught:
                client.send("/queue/orders", b"child", transaction=transaction)
            with pytest.raises(NotSent):
                client.commit(transaction)
            client.abort(transaction)
            return str(caught.value)

        with pool.client() as client:
            transaction = client.begin()
            client.send("/queue/orders", b"parent", transaction=transaction)
            words = in_a_child(child)
            client.commit(transaction)
        assert "is not open" in words
        assert [frame.body for frame in broker.messages("/queue/orders")] == [b"parent"]
        assert broker.received("ABORT") == 0
        assert broker.connections_accepted == 1

    def test_close_in_the_child_closes_nothing_of_the_parent(self, broker, wire, pool):
        with pool.client() as client:
            client.send("/queue/orders", b"1", confirm=True)
            in_a_child(pool.close)
            client.send("/queue/orders", b"2", confirm=True)
        with pool.client() as client:
            client.send("/queue/orders", b"3", confirm=True)
        assert broker.connections_accepted == 1
        assert broker.received("DISCONNECT") == 0
