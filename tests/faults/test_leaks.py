"""Each fault, again and again: descriptors, threads and memory afterwards are those before.

The broker and the proxy run in this process and are counted with it; what they remember on purpose is cleared. How
often: the fixture `faults`.
"""

from __future__ import annotations

import contextlib
import ssl
import typing

import pytest

from stomp_web import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConnectionLost,
    MessageError,
    NotSent,
    PoolTimeout,
    PublishClient,
    PublishClientPool,
    Publisher,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.broker import Broker
from tests.faults.proxy import DOWN, UP, Proxy
from tests.faults.resources import holding, memory, tracing, unchanged

#: The deadline of a call that must fail by it; short, as each such fault costs it.
MOMENT = 0.003

#: Bytes by which memory may grow with each fault, and once.
PER_FAULT = 8
ONCE = 10_000

QUEUE = "/queue/leaks"

Expected = type[MessageError] | tuple[type[MessageError], ...]


class Bench:
    """What a fault needs: a broker, the proxy before it, and each front door."""

    def __init__(self, local: Broker, stack: contextlib.ExitStack) -> None:
        self.broker = local
        self.proxy = stack.enter_context(Proxy(*local.address, receive_buffer=65_536))
        self.publisher = Publisher(self.proxy.url, serializer="text")
        stack.callback(self.publisher.close, 0.5)
        self.client = PublishClient.from_url(self.proxy.url, confirm=True)
        stack.callback(self.client.close)
        self.pool = PublishClientPool(self.proxy.url, max_size=1)
        stack.callback(self.pool.close, 0.5)
        self.tls = PublishClient("127.0.0.1", self.proxy.port, ssl=ssl.create_default_context())
        stack.callback(self.tls.close)

    def send(self, **options: typing.Any) -> None:
        self.publisher.send(QUEUE, "x", **options)

    def fails(
        self, expected: Expected, function: typing.Callable[..., object], *args: object, **options: object
    ) -> None:
        # Not pytest.raises: it keeps what it caught.
        try:
            function(*args, **options)
        except expected:
            return
        raise AssertionError(f"{expected} was expected")


def idle_cut(bench: Bench) -> None:
    bench.send()
    bench.proxy.cut()
    bench.send()


def idle_reset(bench: Bench) -> None:
    bench.send()
    bench.proxy.cut(reset=True)
    bench.send()


def cut_before_receipt(bench: Bench) -> None:
    bench.proxy.on_frame("SEND")
    bench.fails(ConnectionLost, bench.send)


def reset_before_receipt(bench: Bench) -> None:
    bench.proxy.on_frame("SEND", "reset")
    bench.fails(ConnectionLost, bench.send)


def cut_in_the_message(bench: Bench) -> None:
    bench.send()
    bench.proxy.on_bytes(20, "reset")
    bench.fails(ConnectionLost, bench.send)


def cut_in_the_receipt(bench: Bench) -> None:
    bench.send()
    bench.proxy.on_bytes(5, way=DOWN)
    bench.fails(ConnectionLost, bench.send)


def error_and_close(bench: Bench) -> None:
    bench.broker.faults.error()
    bench.fails(Rejected, bench.send)


def error_and_stay_open(bench: Bench) -> None:
    bench.broker.faults.error(close=False, receipt_id=False)
    bench.fails(Rejected, bench.send)


def garbage(bench: Bench) -> None:
    bench.broker.faults.garbage()
    bench.fails(ConnectionLost, bench.send)


def duplicate_receipt(bench: Bench) -> None:
    bench.broker.faults.duplicate_receipt(copies=3)
    bench.send()


def no_receipt(bench: Bench) -> None:
    bench.client.connect()
    bench.broker.faults.mute("SEND")
    # On a busy machine the moment may pass before a byte has left.
    bench.fails((ReceiptTimeout, BrokerUnavailable), bench.client.send, QUEUE, timeout=MOMENT)


def frozen(bench: Bench) -> None:
    bench.client.connect()
    bench.proxy.freeze()
    bench.fails((ReceiptTimeout, BrokerUnavailable), bench.client.send, QUEUE, timeout=MOMENT)
    bench.proxy.thaw()


def stalled_in_the_message(bench: Bench) -> None:
    bench.client.connect()
    bench.proxy.freeze(UP)
    bench.fails(NotSent, bench.client.send, QUEUE, MEGABYTES, timeout=2 * MOMENT)  # it did not leave whole
    bench.proxy.cut(reset=True)
    bench.proxy.thaw()


def mute_at_connect(bench: Bench) -> None:
    bench.client.close()
    bench.proxy.mute()
    bench.fails(BrokerUnavailable, bench.client.send, QUEUE, timeout=MOMENT)


def refused_by_the_system(bench: Bench) -> None:
    bench.client.close()
    bench.proxy.stop_listening()
    bench.fails(BrokerUnavailable, bench.client.send, QUEUE)
    bench.proxy.listen_again()


def accepted_and_cut(bench: Bench) -> None:
    bench.client.close()
    bench.proxy.refuse()
    bench.fails(BrokerUnavailable, bench.client.send, QUEUE)


def accepted_and_reset(bench: Bench) -> None:
    bench.client.close()
    bench.proxy.refuse(reset=True)
    bench.fails(BrokerUnavailable, bench.client.send, QUEUE)


def cut_in_connected(bench: Bench) -> None:
    bench.client.close()
    bench.proxy.on_bytes(12, way=DOWN)
    bench.fails(BrokerUnavailable, bench.client.send, QUEUE)


def refused_by_the_broker(bench: Bench) -> None:
    bench.client.close()
    bench.broker.faults.error("CONNECT", "Bad CONNECT", "Access refused for user 'guest'")
    bench.fails(AuthenticationFailed, bench.client.send, QUEUE)


def tls_to_a_plain_port(bench: Bench) -> None:
    bench.fails(BrokerUnavailable, bench.tls.send, QUEUE)


def tls_without_an_answer(bench: Bench) -> None:
    bench.proxy.mute()
    bench.fails(BrokerUnavailable, bench.tls.send, QUEUE, timeout=MOMENT)


def pool_exhausted(bench: Bench) -> None:
    with bench.pool.client():
        bench.fails(PoolTimeout, bench.pool.client(timeout=MOMENT).__enter__)


def exception_of_the_borrower(bench: Bench) -> None:
    with contextlib.suppress(KeyError), bench.pool.client() as client:
        client.begin()
        raise KeyError


def unreachable_publisher(bench: Bench) -> None:
    publisher = Publisher(bench.proxy.url)
    bench.proxy.refuse(times=None, reset=True)
    bench.fails(NotSent, publisher.send, QUEUE, "x")
    bench.fails(NotSent, publisher.send, QUEUE, "x")  # by the breaker or, if its pause was short, by the proxy
    publisher.close()
    bench.proxy.clear()


def new_publisher(bench: Bench) -> None:
    publisher = Publisher(bench.proxy.url)
    publisher.send(QUEUE, "x")
    bench.proxy.cut()
    publisher.close()


MEGABYTES = b"x" * 4_194_304

KINDS = (
    idle_cut,
    idle_reset,
    cut_before_receipt,
    reset_before_receipt,
    cut_in_the_message,
    cut_in_the_receipt,
    error_and_close,
    error_and_stay_open,
    garbage,
    duplicate_receipt,
    no_receipt,
    frozen,
    stalled_in_the_message,
    mute_at_connect,
    refused_by_the_system,
    accepted_and_cut,
    accepted_and_reset,
    cut_in_connected,
    refused_by_the_broker,
    tls_to_a_plain_port,
    tls_without_an_answer,
    pool_exhausted,
    exception_of_the_borrower,
    unreachable_publisher,
    new_publisher,
)


@pytest.fixture
def bench(local: Broker) -> typing.Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        yield Bench(local, stack)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", KINDS, ids=lambda kind: kind.__name__)
def test_a_fault_leaves_nothing_behind_however_often_it_happens(
    bench: Bench, faults: int, fault: typing.Callable[[Bench], None]
):
    def happen(times: int) -> None:
        for _ in range(times):
            fault(bench)
            if bench.proxy.connections % 100 == 0:
                bench.broker.clear()
        bench.client.close()
        bench.tls.close()
        bench.proxy.clear()
        bench.proxy.cut()
        assert bench.broker.wait_until(lambda: bench.broker.connections == 0)
        bench.broker.clear()
        bench.publisher.check()  # a look at the pool's connections, so that none that died is counted
        bench.pool.check()

    # The first ones fill caches, and the line of connections that lie idle.
    happen(max(faults // 10, 5))
    before = holding()
    with tracing():
        happen(2)
        occupied = memory()
        happen(faults)
        grown = memory() - occupied
    unchanged(before)
    assert grown <= ONCE + PER_FAULT * faults, f"memory grew by {grown} bytes in {faults} faults"
