"""The standard library's own ways to more processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing

import pytest

from tests.fork import tasks
from tests.fork.family import LIMIT


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_publish_beside_their_parent(broker, address, publisher, method):
    # A forked process inherits the publisher. A spawned one starts afresh, and makes its own.
    argument = publisher if method == "fork" else address
    count = 4 if method == "fork" else 2
    context = multiprocessing.get_context(method)
    ids = [publisher.send("/queue/orders", "before")]
    pipes, processes = [], []
    for _ in range(count):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=tasks.publish_three, args=(argument, sender))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    for pipe, process in zip(pipes, processes, strict=True):
        assert pipe.poll(LIMIT)
        ids += pipe.recv()
        pipe.close()
        process.join(LIMIT)
        assert process.exitcode == 0
        process.close()
    ids.append(publisher.send("/queue/orders", "after"))

    assert len(set(ids)) == 3 * count + 2
    assert sorted(ids) == sorted(frame.headers["x-message-id"] for frame in broker.messages("/queue/orders"))
    assert broker.connections_accepted == 1 + count


def test_a_pool_of_processes_has_one_connection_for_each(broker, publisher, monkeypatch):
    publisher.send("/queue/orders", "before")
    monkeypatch.setattr(tasks, "inherited", publisher)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as executor:
        done = list(executor.map(tasks.publish_as_worker, range(30)))
    publisher.send("/queue/orders", "after")

    pids, ids = zip(*done, strict=True)
    assert len(set(ids)) == 30
    assert len(broker.messages("/queue/orders")) == 32
    assert broker.connections_accepted == 1 + len(set(pids))


def test_a_publisher_cannot_be_sent_to_another_process_and_python_says_so(publisher):
    """It has connections and locks. Send its address, and make another one there."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    with receiver, sender, pytest.raises(TypeError, match="pickle"):
        sender.send(publisher)
