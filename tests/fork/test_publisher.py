"""What else a publisher has per process: its counts and its ids."""

from __future__ import annotations

import threading

from stomp_web import Publisher
from tests.fork.family import forked, in_a_child


def test_a_child_counts_from_zero(publisher):
    publisher.send_many([("/queue/orders", number) for number in range(7)])

    def child():
        at_first = publisher.stats().sent
        publisher.send("/queue/orders", 1)
        return at_first, publisher.stats().sent, publisher.stats().pool.loans

    assert in_a_child(child) == (0, 1, 1)
    assert publisher.stats().sent == 7


def test_ids_differ_between_the_processes_of_a_family():
    publisher = Publisher("null://")

    def ids():
        return [publisher.send("/queue/orders", number) for number in range(100)]

    all_ids = ids()
    children = [forked(lambda: ids() + in_a_child(ids)) for _ in range(4)]
    for child in children:
        all_ids += child.report()
        child.join()
    all_ids += ids()
    assert len(set(all_ids)) == len(all_ids) == 1000


def test_a_second_thread_of_a_child_does_not_meet_the_lock_of_the_parent(monkeypatch):
    """While the first thread of the child is about to make the counts of its own, a second one counts."""
    publisher = Publisher("null://")
    publisher.send("/queue/orders", 1)

    def child():
        second = threading.Thread(target=publisher.send, args=("/queue/orders", 2), daemon=True)
        make_lock = threading.Lock

        def lock_of_the_first():
            monkeypatch.setattr(threading, "Lock", make_lock)
            second.start()
            second.join(30)
            return make_lock()

        monkeypatch.setattr(threading, "Lock", lock_of_the_first)
        publisher.send("/queue/orders", 3)
        return second.is_alive(), publisher.stats().sent

    held, begun = threading.Event(), threading.Event()

    def hold(lock):
        with lock:
            begun.set()
            held.wait(5)

    lock = publisher._ledgers.own()._lock
    holder = threading.Thread(target=hold, args=(lock,))
    holder.start()
    begun.wait(5)
    assert in_a_child(child) == (False, 2)
    held.set()
    holder.join(30)
