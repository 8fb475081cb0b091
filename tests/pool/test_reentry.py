"""A signal handler or a finalizer in the middle of a send sends, too, logs, or asks for the numbers.

Python runs signal handlers and finalizers between any two steps. Here that is done before each line of the library that
a send passes, one line at a time: the trace function stands for the signal handler.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import signal
import sys
import threading
import time
import typing
from pathlib import Path

import pytest

import stomp_web
from stomp_web import NotSent, Publisher, StompError
from tests.client.scripted import PATIENCE, eventually

ROOT = str(Path(stomp_web.__file__).parent)
#: Seconds for an inner call that may have to wait for the outer one, and so must end in vain.
SHORT = 0.02


def before_line(number: int, handle: typing.Callable[[], object], call: typing.Callable[[], object]) -> bool:
    """Do *call*, and *handle* in the middle, before the line *number* that it passes; return whether there is one."""
    lines = 0

    def trace(frame, event, _arg):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                handle()  # Python does not trace what a trace function does
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines >= number


class Inner:
    """What the handler does, each with its outcome: the message's id, or an exception."""

    def __init__(self, publisher: Publisher, timeout: float) -> None:
        self.publisher = publisher
        self.timeout = timeout
        self.outcomes: list[object] = []

    def send(self) -> None:
        began = time.monotonic()
        try:
            self.outcomes.append(self.publisher.send("/queue/inner", "inner", timeout=self.timeout))
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.outcomes.append(error)
        assert time.monotonic() - began < self.timeout + PATIENCE

    def log(self) -> None:
        """As an application logs whose log handler sends."""
        logging.getLogger("application").error("in the middle")

    def stats(self) -> None:
        self.outcomes.append(str(self.publisher.stats()))

    def check(self) -> None:
        self.outcomes.append(str(self.publisher.check(self.timeout)))

    def collect(self) -> None:
        """A cycle is collected, and its finalizer sends."""

        class Sends:
            def __init__(self, send: typing.Callable[[], object]) -> None:
                self.send, self.me = send, self

            def __del__(self) -> None:
                self.send()

        Sends(self.send)
        gc.collect(0)


@pytest.fixture
def sending_log():
    """A log handler that does what it is told to do with each record."""

    class Handler(logging.Handler):
        send: typing.Callable[[], object] | None = None

        def emit(self, record: logging.LogRecord) -> None:
            if self.send is not None:
                self.send()

    handler = Handler()
    logging.getLogger("application").addHandler(handler)
    yield handler
    logging.getLogger("application").removeHandler(handler)


SHAPES: dict[str, typing.Callable[[Publisher], object]] = {
    "plain": lambda publisher: publisher.send("/queue/a", "outer"),
    "unconfirmed": lambda publisher: publisher.send("/queue/a", "outer", confirm=False),
    "header": lambda publisher: publisher.send("/queue/a", "outer", {"a": "b"}),
    "pickle": lambda publisher: publisher.send("/queue/a", "outer", serializer="pickle"),
    "ttl": lambda publisher: publisher.send("/queue/a", "outer", ttl=60),
    "send_many": lambda publisher: publisher.send_many([("/queue/a", number) for number in range(3)]),
}


def ids(frames):
    return [frame.headers["x-message-id"] for frame in frames]


def send_to(publisher: Publisher, sent: list[str]) -> None:
    sent.append(publisher.send("/queue/a", "outer"))


def nothing_is_lost(publisher: Publisher) -> None:
    pool = publisher.stats().pool
    assert (pool.lent, pool.waiting, pool.size) == (0, 0, pool.idle)


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        *((shape, what) for shape in SHAPES for what in ("send", "log", "stats")),
        ("plain", "check"),
        ("plain", "collect"),
    ],
)
def test_before_every_line_of_a_send_that_leaves_a_connection_idle(broker, sending_log, shape, what):
    """There is a connection for each of both, and so each of both succeeds."""
    with Publisher(broker.url, pool_size=2, timeout=PATIENCE) as publisher:
        pool = publisher._backend._pool
        with pool.client(), pool.client():
            pass
        inner = Inner(publisher, PATIENCE)
        sending_log.send = inner.send
        line = 0
        more = True
        while more:
            line += 1
            more = before_line(line, getattr(inner, what), lambda: SHAPES[shape](publisher))
            nothing_is_lost(publisher)
        publisher.send("/queue/a", "last")
        assert line > 30
        assert len(inner.outcomes) == line - 1
        assert all(isinstance(outcome, str) for outcome in inner.outcomes), inner.outcomes
        if what not in ("stats", "check"):
            assert sorted(ids(broker.messages("/queue/inner"))) == sorted(inner.outcomes)
        stats = publisher.stats()
        assert len(broker.messages("/queue/a")) + len(broker.messages("/queue/inner")) == stats.sent
        assert (stats.not_sent, stats.unknown, stats.rejected) == (0, 0, 0)
        assert (stats.pool.opened, stats.pool.discarded, broker.connections_accepted) == (2, 0, 2)


@pytest.mark.parametrize("what", ["send", "log", "stats", "collect"])
def test_before_every_line_of_a_send_that_has_the_only_connection(broker, sending_log, what):
    """The inner call gets the connection while the outer one does not have it; else it ends by its own deadline."""
    with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as publisher:
        publisher.send("/queue/a", "first")
        inner = Inner(publisher, SHORT)
        sending_log.send = inner.send
        sent = 1
        line = 0
        more = True
        while more:
            line += 1
            more = before_line(line, getattr(inner, what), lambda: publisher.send("/queue/a", "outer"))
            sent += 1
            nothing_is_lost(publisher)
        assert line > 30
        assert len(inner.outcomes) == line - 1
        failures = [outcome for outcome in inner.outcomes if not isinstance(outcome, str)]
        assert all(isinstance(failure, StompError) for failure in failures), failures
        assert len(broker.messages("/queue/a")) == sent
        if what != "stats":
            assert any(isinstance(failure, NotSent) for failure in failures)
            got = ids(broker.messages("/queue/inner"))
            assert {outcome for outcome in inner.outcomes if isinstance(outcome, str)} <= set(got)


@pytest.mark.parametrize("what", ["send", "log", "stats", "collect"])
def test_before_every_line_of_a_send_that_connects(broker, sending_log, what):
    """One caller connects at a time; the inner one has a clear outcome all the same, and the outer one succeeds."""
    line = 0
    more = True
    while more:
        line += 1
        with Publisher(broker.url, pool_size=2, timeout=PATIENCE) as publisher:
            inner = Inner(publisher, SHORT)
            sending_log.send = inner.send
            outer: list[str] = []
            more = before_line(line, getattr(inner, what), functools.partial(send_to, publisher, outer))
            assert outer
            assert len(inner.outcomes) == more
            for outcome in inner.outcomes:
                assert isinstance(outcome, str | StompError), outcome
            nothing_is_lost(publisher)
    assert line > 100
    assert len(broker.messages("/queue/a")) == line


@pytest.mark.parametrize("what", ["send", "stats"])
def test_before_every_line_of_a_close(broker, what):
    """The inner call sends, or is told that the pool is closed; no connection is left open."""
    line = 0
    more = True
    while more:
        line += 1
        publisher = Publisher(broker.url, pool_size=2, timeout=PATIENCE)
        publisher.send("/queue/a", "first")
        inner = Inner(publisher, PATIENCE)
        more = before_line(line, getattr(inner, what), publisher.close)
        for outcome in inner.outcomes:
            assert isinstance(outcome, str | NotSent), outcome
        assert publisher.stats().pool.size == 0, f"line {line}"
    assert line > 20
    assert broker.wait_until(lambda: broker.sessions == 0)


def test_a_handler_that_closes_the_pool_before_every_line_of_a_send(broker):
    line = 0
    more = True
    while more:
        line += 1
        publisher = Publisher(broker.url, pool_size=2, timeout=PATIENCE)
        publisher.send("/queue/a", "first")

        def call(publisher=publisher):
            with contextlib.suppress(NotSent):
                publisher.send("/queue/a", "outer")

        more = before_line(line, publisher.close, call)
        publisher.close()
        assert publisher.stats().pool.size == 0, f"line {line}"
    assert broker.wait_until(lambda: broker.sessions == 0)


class TestARealSignal:
    """Its handler runs inside a call that waits."""

    @pytest.fixture
    def on_signal(self):
        before = signal.getsignal(signal.SIGUSR1)

        def install(handle: typing.Callable[[], object]) -> None:
            signal.signal(signal.SIGUSR1, lambda *_: handle())

        yield install
        signal.signal(signal.SIGUSR1, before)

    def interrupt_when(self, condition: typing.Callable[[], object]) -> threading.Thread:
        def wait() -> None:
            assert eventually(condition)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def test_in_a_caller_in_line(self, broker, on_signal):
        """The handler stands in line behind its own caller, in vain; the caller is served when its turn comes."""
        with Publisher(broker.url, pool_size=1, timeout=PATIENCE) as publisher:
            inner = Inner(publisher, SHORT)
            handled = threading.Event()
            on_signal(lambda: (inner.send(), handled.set()))
            begun = threading.Event()

            def hold() -> None:
                with publisher._backend._pool.client():
                    begun.set()
                    assert handled.wait(PATIENCE)

            holder = threading.Thread(target=hold)
            holder.start()
            assert begun.wait(PATIENCE)
            thread = self.interrupt_when(lambda: publisher.stats().pool.waiting == 1)
            publisher.send("/queue/a", "outer")
            thread.join(PATIENCE)
            holder.join(PATIENCE)
            assert [type(outcome).__name__ for outcome in inner.outcomes] == ["PoolTimeout"]
            nothing_is_lost(publisher)

    def test_in_a_caller_that_waits_for_another_one_to_connect(self, broker, on_signal):
        """Both wait for the one turn to connect, the handler above its caller."""
        broker.faults.mute("CONNECT")
        with Publisher(broker.url, pool_size=3, timeout=PATIENCE, connect_timeout=PATIENCE) as publisher:
            inner = Inner(publisher, SHORT)

            def handle() -> None:
                inner.send()
                broker.faults.close_connections()

            on_signal(handle)
            failed: list[BaseException] = []

            def connect() -> None:
                try:
                    publisher.send("/queue/a", "first")
                except StompError as error:
                    failed.append(error)

            first = threading.Thread(target=connect)
            first.start()
            assert broker.wait_until(lambda: broker.received("CONNECT") == 1)
            thread = self.interrupt_when(lambda: publisher.stats().pool.lent == 2)
            with contextlib.suppress(NotSent):  # the breaker has opened; if its pause is over, this one connects
                publisher.send("/queue/a", "outer")
            thread.join(PATIENCE)
            first.join(PATIENCE)
            assert [type(outcome).__name__ for outcome in inner.outcomes] == ["BrokerUnavailable"]
            assert failed
            nothing_is_lost(publisher)

    def test_in_a_caller_that_waits_for_its_receipt(self, broker, on_signal):
        """The handler sends over another connection, and the receipts go where they belong."""
        with Publisher(broker.url, pool_size=2, timeout=PATIENCE) as publisher:
            publisher.send("/queue/a", "first")
            inner = Inner(publisher, PATIENCE)
            on_signal(inner.send)
            broker.faults.delay(0.2, "SEND")
            thread = self.interrupt_when(lambda: broker.received("SEND") == 2)
            publisher.send("/queue/a", "outer")
            thread.join(PATIENCE)
            assert isinstance(inner.outcomes[0], str)
            nothing_is_lost(publisher)
            assert len(broker.messages("/queue/inner")) == 1
