"""What else a publisher has per process: its counts and its ids."""

from __future__ import annotations

import secrets
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


def test_two_threads_of_a_child_that_are_the_first_ones_together_count_in_one_place(monkeypatch):
    """While the first thread of the child makes the counters of its process, a second one sends."""
    publisher = Publisher("null://")
    publisher.send("/queue/orders", 1)

    def child():
        second = threading.Thread(target=publisher.send, args=("/queue/orders", 2), daemon=True)
        token_hex = secrets.token_hex

        def token_of_the_first(size):
            monkeypatch.setattr(secrets, "token_hex", token_hex)
            second.start()
            second.join(120)
            return token_hex(size)

        monkeypatch.setattr(secrets, "token_hex", token_of_the_first)
        publisher.send("/queue/orders", 3)
        return second.is_alive(), publisher.stats().sent

    assert in_a_child(child) == (False, 2)
