"""Ctrl-C, or a worker's time limit, in every step of a send: no connection is lost to the pool, whoever had it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

import stomp_web
from stomp_web import Publisher
from stomp_web.connection.deadline import Deadline
from stomp_web.connection.transport import Transport
from tests.client.scripted import eventually

ROOT = str(Path(stomp_web.__file__).parent)

pytestmark = [
    pytest.mark.skipif(
        sys.version_info[:2] == (3, 14),
        reason="CPython 3.14: an interrupt may come after a `with` has taken its lock and before its first line, which "
        "leaves the lock held",
    ),
    pytest.mark.skipif(
        sys.version_info >= (3, 15),
        reason="CPython 3.15: a profile function is called after a lock's __enter__, where no signal handler is; so an "
        "exception raised there shows nothing about interrupts",
    ),
]


class Interrupted(BaseException):
    """What a signal handler raises."""


def interrupted_at(step, call):
    """Do *call*, and interrupt it at that *step*; return whether there was such a step.

    Since CPython 3.11 an interrupt comes where a function begins, or has called something that is written in C.
    """
    steps = 0

    def count(frame, event, _arg):
        nonlocal steps
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(ROOT):
            steps += 1
            if steps == step:
                sys.setprofile(None)
                raise Interrupted

    sys.setprofile(count)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.fixture(params=["lent at once", "looked at closer"])
def publisher(request, broker, monkeypatch):
    if request.param == "looked at closer":  # as where the system does not tell of a connection what Linux tells
        monkeypatch.setattr(Transport, "nothing_new", lambda _transport, _received: False)
    with Publisher(broker.url, pool_size=1, timeout=2) as made:
        yield made


@pytest.mark.parametrize("confirm", [True, False])
def test_of_a_publisher(publisher, confirm):
    step = 0
    while True:
        step += 1
        publisher.send("/queue/a", "before")
        if not interrupted_at(step, lambda: publisher.send("/queue/a", "interrupted", confirm=confirm)):
            break
        pool = publisher.stats().pool
        assert (pool.lent, pool.waiting) == (0, 0), f"after step {step}"
    assert step > 30


def test_while_others_wait_in_line(publisher):
    """What is handed over in the middle of an interrupt is had by the one to whom it was handed, at once."""
    pool = publisher._outlet._pool
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
        loan = pool.take(Deadline(5.0))
        borrower = loan.borrower
        other.start()
        assert eventually(lambda: pool.stats().waiting == 1)
        was = interrupted_at(step, lambda loan=loan: pool.give_back(loan))
        if loan.borrower is borrower:  # it had not begun: whoever has borrowed comes here again
            pool.give_back(loan)
        other.join(30)
        assert isinstance(outcome[0], str), f"after step {step}: {outcome[0]!r}"
        assert eventually(lambda: pool.stats().lent == 0), f"after step {step}"
        if not was:
            break
    assert step > 5
