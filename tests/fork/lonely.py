"""A program of its own, for what cannot be had in the process of the tests: started fresh, with one thread, or patched.

Called with a mode and the broker's host and port. Prints what it found as JSON. Modes:

* ``no hook`` - ``os.register_at_fork`` does nothing when stomp_web is imported, as if the server that forks called no
  hooks. uWSGI does not.
* ``quiet`` - publishes, forks, publishes in both, with every warning an error and no thread but the first.
* ``gevent`` - everything is patched; greenlets hold a loan and wait in line while another one forks.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings


def no_hook(host: str, port: str) -> object:
    os.register_at_fork = lambda **_: None
    from stomp_web import Publisher
    from tests.fork.situations import SITUATIONS, four_children_and_their_parent_publish
    from tests.fork.wire import Wire

    found = {}
    for situation in SITUATIONS:
        wire = Wire((host, int(port)))
        publisher = Publisher(f"stomp://127.0.0.1:{wire.port}", timeout=60.0)
        found[situation] = [
            [report.ids, len(report.inherited_at_first), len(report.inherited_at_last)]
            for report in four_children_and_their_parent_publish(publisher, wire, situation)
        ]
        publisher.close()
        wire.close()
    return found


def quiet(host: str, port: str) -> object:
    from stomp_web import Publisher

    publisher = Publisher(f"stomp://{host}:{port}", timeout=60.0)
    publisher.send("/queue/orders", "before")
    threads = threading.active_count()
    warnings.simplefilter("error")
    if os.fork() == 0:
        code = 1
        try:
            publisher.send("/queue/orders", "child")
            code = 0 if threading.active_count() == 1 else 2
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    publisher.send("/queue/orders", "after")
    publisher.close()
    return {"threads": threads, "child": code}


def gevent(host: str, port: str) -> object:
    from gevent import monkey

    monkey.patch_all()
    import gevent

    from stomp_web import PublishClientPool
    from tests.fork.family import in_a_child
    from tests.fork.wire import connections_to

    pool = PublishClientPool(f"stomp://{host}:{port}", max_size=3, timeout=60.0)
    begun, go_on = gevent.event.Event(), gevent.event.Event()
    loans = []

    def borrow() -> None:
        with pool.client() as client:
            client.send("/queue/orders", "before", confirm=True)
            loans.append(client)
            begun.set()
            go_on.wait(60)
            client.send("/queue/orders", "after", confirm=True)

    def send(word: str) -> None:
        with pool.client() as client:
            client.send("/queue/orders", word, confirm=True)

    greenlets = [gevent.spawn(borrow), gevent.spawn(borrow)]
    while len(loans) < 2:
        assert begun.wait(60)
        begun.clear()
    # The broker keeps this one's receipt back for longer than it takes to fork.
    slow = gevent.spawn(send, "slow")
    greenlets += [slow, gevent.spawn(send, "waited")]
    while pool.stats().opened < 3 or not pool.stats().waiting:
        gevent.sleep(0)
    inherited = connections_to(int(port))

    def child() -> list[object]:
        slow.join(60)
        at_first = len(connections_to(int(port)) & inherited)
        own = [gevent.spawn(send, "child") for _ in range(10)]
        gevent.joinall(own, timeout=60, raise_error=True)
        return [type(slow.exception).__name__, at_first, pool.stats().opened, pool.stats().loans]

    found = in_a_child(child)
    go_on.set()
    gevent.joinall(greenlets, timeout=60, raise_error=True)
    return {"child": found, "parent": [greenlet.successful() for greenlet in greenlets]}


if __name__ == "__main__":
    _, mode, *broker = sys.argv
    print(json.dumps({"no hook": no_hook, "quiet": quiet, "gevent": gevent}[mode](*broker)))
