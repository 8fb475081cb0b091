"""Ctrl-C, or a worker's time limit, in every step of a call: no connection is lost to the pool."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import stomp_web
from stomp_web import PublishClientPool, Publisher
from stomp_web.connection.deadline import Deadline
from stomp_web.connection.session import Session
from tests.client.scripted import PATIENCE, eventually

ROOT = str(Path(stomp_web.__file__).parent)
#: How many real interrupts are made; the script behind it takes any number.
INTERRUPTS = os.environ.get("STOMP_WEB_INTERRUPTS", "2000")


class Interrupted(BaseException):
    """What a signal handler raises."""


def in_finalizer(frame):
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_close_dropped"):
            return True
        frame = frame.f_back
    return False


def interrupted_at(step, call, then=lambda: None):
    """Do *call*, and interrupt it at that *step*; return whether there was such a step.

    *then* is called by the code that handles the interrupt, while the traceback is still there.

    Since CPython 3.11 an interrupt comes where a function begins, or has called something that is written in C. In a
    finalizer it would be dropped by Python, and so none is made there.
    """
    steps = 0

    def count(frame, event, _arg):
        nonlocal steps
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(ROOT) and not in_finalizer(frame):
            steps += 1
            if steps == step:
                sys.setprofile(None)
                raise Interrupted

    sys.setprofile(count)
    try:
        call()
    except Interrupted:
        sys.setprofile(None)
        then()
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.fixture(autouse=True)
def _no_collector():
    """A lease that was dropped comes back at once, and not when the garbage collector runs."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["lent at once", "looked at closer"])
def publisher(request, broker, monkeypatch):
    if request.param == "looked at closer":  # as where the system does not tell of a connection what Linux tells
        monkeypatch.setattr(Session, "nothing_new", lambda _session: False)
    with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as made:
        yield made


SHAPES = {
    "plain": lambda publisher: publisher.send("/queue/a", "interrupted"),
    "unconfirmed": lambda publisher: publisher.send("/queue/a", "interrupted", confirm=False),
    "header": lambda publisher: publisher.send("/queue/a", "interrupted", {"a": "b"}),
    "pickle": lambda publisher: publisher.send("/queue/a", "interrupted", serializer="pickle"),
    "ttl": lambda publisher: publisher.send("/queue/a", "interrupted", ttl=60),
    "send_many": lambda publisher: publisher.send_many([("/queue/a", number) for number in range(3)]),
    "check": lambda publisher: publisher.check(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_of_a_call(publisher, shape):
    step = 0
    while True:
        step += 1
        publisher.send("/queue/a", "before")
        if not interrupted_at(step, lambda: SHAPES[shape](publisher)):
            break
        pool = publisher.stats().pool
        assert (pool.lent, pool.waiting) == (0, 0), f"after step {step}"
    assert step > 30


def test_the_handler_of_the_interrupt_may_send_at_once(publisher):
    """As code does that reports a time limit through the same publisher: the traceback keeps what the call had."""
    publisher.send("/queue/a", "first")
    sent = []

    def report() -> None:
        sent.append(publisher.send("/queue/a", "report"))

    step = 1
    while interrupted_at(step, lambda: publisher.send("/queue/a", "interrupted"), report):
        step += 1
    assert len(sent) == step - 1 > 30
    assert publisher.stats().pool.size == 1


# A socket that had just been made, and a generator that was about to end, drop the exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_step_of_a_call_that_connects(broker):
    step = 0
    while True:
        step += 1
        with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as publisher:

            def report(publisher=publisher, step=step):
                pool = publisher.stats().pool
                assert (pool.lent, pool.waiting, pool.retry_after) == (0, 0, None), f"after step {step}"
                publisher.send("/queue/a", "report")

            was = interrupted_at(step, lambda publisher=publisher: publisher.send("/queue/a", "interrupted"), report)
            report()
        if not was:
            break
    assert step > 60


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_handler_of_an_interrupt_may_connect_at_once(broker):
    step = 0
    while True:
        step += 1
        with PublishClientPool(broker.url, max_size=1, timeout=PATIENCE) as pool:

            def lend(pool=pool):
                with pool.client() as client:
                    client.send("/queue/a", b"x", confirm=True)

            if not interrupted_at(step, lend, lend):
                break
    assert step > 60


def test_every_step_of_a_close(broker):
    step = 0
    while True:
        step += 1
        publisher = Publisher(broker.url, pool_size=2, timeout=PATIENCE)
        pool = publisher._backend._pool
        with pool.client(), pool.client():
            pass
        was = interrupted_at(step, publisher.close)
        publisher.close()
        assert publisher.stats().pool.size == 0, f"after step {step}"
        assert broker.wait_until(lambda: broker.sessions == 0)
        if not was:
            break
    assert step > 20


def test_while_others_wait_in_line(publisher):
    """What is handed over in the middle of an interrupt is had by the caller to whom it was handed."""
    pool = publisher._backend._pool
    step = 0
    while True:
        step += 1
        publisher.send("/queue/a", "before")
        outcome: list[object] = []

        def wait_in_line(outcome=outcome):
            try:
                outcome.append(publisher.send("/queue/a", "waited"))
            except BaseException as error:  # noqa: BLE001 - told below
                outcome.append(error)

        other = threading.Thread(target=wait_in_line)
        lease = pool.acquire(Deadline(PATIENCE))
        other.start()
        assert eventually(lambda: pool.stats().waiting == 1)
        leases = [lease]
        del lease
        loan = leases[0].loan
        was = interrupted_at(step, lambda leases=leases, loan=loan: pool.release(leases.pop(), loan))
        other.join(PATIENCE)
        assert isinstance(outcome[0], str), f"after step {step}: {outcome[0]!r}"
        assert eventually(lambda: pool.stats().lent == 0), f"after step {step}"
        if not was:
            break
    assert step > 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signal.setitimer")
def test_real_signals_at_random_moments_of_every_shape_in_one_thread_and_in_eight():
    """No lease is lost, no call is late, and all connections can be used at once. See the script."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pool.interrupts", INTERRUPTS],
        cwd=Path(ROOT).parent,
        capture_output=True,
        text=True,
        timeout=600 + int(INTERRUPTS),
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
