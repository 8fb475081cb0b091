"""A forked child inherits neither the marks of its parent's threads nor the parent's uncounted messages."""

from __future__ import annotations

import os
import threading

import pytest

if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)

from stomp_web import Publisher
from stomp_web.telemetry.kinds import guarded, is_inside
from tests.worker.running import PATIENCE


def in_child(function):
    """Return what *function* returns in a forked child, as text."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writes, str(function()).encode())
        except BaseException as error:
            os.write(writes, repr(error).encode())
            raise
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


def test_the_threads_of_a_child_are_not_inside_because_those_of_the_parent_were():
    begun, end = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert end.wait(PATIENCE)

    thread = threading.Thread(target=guarded, args=(wait,))
    thread.start()
    try:
        assert begun.wait(PATIENCE)

        def in_a_thread_of_this_identifier():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(threading, "get_ident", lambda: thread.ident)  # the C library reuses it in the same way
                return is_inside(), guarded(lambda: "called")

        assert in_child(in_a_thread_of_this_identifier) == "(False, 'called')"
        assert in_a_thread_of_this_identifier() == (True, None)
    finally:
        end.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_what_the_parent_will_count_is_not_counted_by_the_child():
    pytest.importorskip("prometheus_client", reason="needs: pip install prometheus-client")
    from stomp_web.telemetry.prometheus import Collector

    with Publisher("memory://") as publisher:
        collector = Collector(publisher)

        def counted():
            samples = [sample for metric in collector.collect() for sample in metric.samples]
            return sum(sample.value for sample in samples if sample.name == "stomp_web_messages_sent_total")

        def send_and_count():
            publisher.send("/queue/a", 1)
            return counted()

        guarded(publisher.send, "/queue/a", 1)  # counted later
        assert in_child(send_and_count) == "1.0"
        assert counted() == 1
