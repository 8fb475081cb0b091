"""The failure probes: nine ways in which a connection goes wrong, which every Python client was tried on.

Each row is a class: what the fault is, and what must be true of the messages then. "In time" is the call's deadline and
a tenth of a second. `Publisher` is what applications use; `PublishClient` is probed where it stands alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
import typing
import warnings

import pytest

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    DeliveryUnknown,
    NotSent,
    PublishClient,
    Publisher,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.broker import Broker
from tests.faults.clock import in_time
from tests.faults.load import ids_in
from tests.faults.proxy import DOWN, PATIENCE, UP, Proxy

Open = typing.Callable[..., Publisher]
Send = typing.Callable[..., object]

#: The deadline of a call whose fault takes all of it. A busy machine may stop a thread for half of it, before the
#: message has left.
SHORT = 1.0
#: What a call may take whose bytes come one by one.
LONG = 5.0
#: What "at once" means.
AT_ONCE = 0.2


@pytest.fixture(params=[Publisher, PublishClient])
def send(request: pytest.FixtureRequest, proxy: Proxy, queue: str) -> typing.Iterator[Send]:
    """Sends text to the queue through the proxy, by either front door."""
    with contextlib.ExitStack() as stack:
        if request.param is Publisher:
            publisher = Publisher(proxy.url, serializer="text", timeout=PATIENCE, connect_timeout=PATIENCE)
            stack.callback(publisher.close, 0.5)
            yield lambda text, **options: publisher.send(queue, text, **options)
        else:
            client = PublishClient.from_url(proxy.url, timeout=PATIENCE, connect_timeout=PATIENCE, confirm=True)
            stack.callback(client.close)
            yield lambda text, **options: client.send(queue, text, **options)


def bodies(local: Broker, queue: str) -> list[str]:
    return [message.body.decode() for message in local.messages(queue)]


class TestIdleClose:
    """idle_close, idle_close_confirm: the broker closes a connection that lies idle; then the application sends."""

    @pytest.mark.parametrize("reset", [False, True], ids=["by FIN", "by reset"])
    @pytest.mark.parametrize("confirm", [False, True], ids=["unconfirmed", "confirmed"])
    def test_all_three_messages_arrive_once(
        self, local: Broker, proxy: Proxy, queue: str, send: Send, confirm: bool, reset: bool
    ):
        send("before")
        proxy.cut(reset=reset)
        with in_time(AT_ONCE):
            for text in "123":
                send(text, confirm=confirm)
        local.wait_for(queue, 4)
        assert bodies(local, queue) == ["before", "1", "2", "3"]
        assert proxy.connections == 2

    def test_all_idle_connections_that_died_are_replaced(
        self, local: Broker, proxy: Proxy, queue: str, open_publisher: Open
    ):
        publisher = open_publisher(proxy.url)
        proxy.delay(0.5, DOWN)  # so that all of the pool's connections are needed
        in_parallel(4, lambda number: publisher.send(queue, number))
        proxy.clear()
        opened = publisher.stats().pool.opened
        assert opened > 1
        proxy.cut()
        for number in range(10):
            publisher.send(queue, number)
        assert len(local.messages(queue)) == 14
        assert publisher.stats().pool.discarded == 0
        assert publisher.stats().pool.stale >= 1

    def test_a_broker_that_closed_and_is_gone_is_said_to_be_unavailable(self, proxy: Proxy, send: Send):
        send("before")
        proxy.cut()
        proxy.stop_listening()
        with in_time(AT_ONCE), pytest.raises(BrokerUnavailable):
            send("lost?")


class TestCloseBeforeReceipt:
    """close_before_receipt: the broker takes the SEND, and the connection ends instead of the receipt's coming."""

    @pytest.mark.parametrize("deed", ["cut", "reset"])
    def test_the_caller_is_told_at_once_that_the_outcome_is_unknown(
        self, local: Broker, proxy: Proxy, queue: str, send: Send, deed: typing.Any
    ):
        send("before")
        proxy.on_frame("SEND", deed)
        with in_time(AT_ONCE), pytest.raises(ConnectionLost):
            send("unknown")
        local.wait_for(queue, 2)
        send("after")
        assert bodies(local, queue) == ["before", "unknown", "after"], "it was sent again, or not at all"

    def test_a_message_that_was_not_taken_is_unknown_as_well_and_not_sent_again(
        self, local: Broker, proxy: Proxy, queue: str, send: Send
    ):
        send("before")
        proxy.on_frame("SEND", "cut", forward=False)
        with in_time(AT_ONCE), pytest.raises(ConnectionLost):
            send("unknown")
        send("after")
        assert bodies(local, queue) == ["before", "after"]

    @pytest.mark.parametrize("forward", [True, False], ids=["the message was taken", "the message was not taken"])
    def test_at_least_once_sends_it_again_under_the_same_id(
        self, local: Broker, proxy: Proxy, queue: str, open_publisher: Open, forward: bool
    ):
        publisher = open_publisher(proxy.url, resend_unknown=True)
        proxy.on_frame("SEND", "cut", forward=forward, times=2)
        with in_time(AT_ONCE):
            message_id = publisher.send(queue, "x")
        assert ids_in(local.messages(queue)) == [message_id] * (3 if forward else 1)

    def test_at_least_once_a_refusal_of_the_second_try_says_nothing_of_the_first(
        self, local: Broker, proxy: Proxy, queue: str, open_publisher: Open
    ):
        publisher = open_publisher(proxy.url, resend_unknown=True)
        proxy.on_frame("SEND", "cut")
        local.faults.error(message="access refused", after=1)
        with in_time(AT_ONCE), pytest.raises(DeliveryUnknown) as failure:
            publisher.send(queue, "x")
        assert isinstance(failure.value.__cause__, Rejected)
        assert ids_in(local.messages(queue)) == [failure.value.message_id], "it is in the queue, and was not rejected"

    @pytest.mark.parametrize("length", [1, 10, 200, 100_000])
    def test_a_connection_that_ends_in_the_middle_of_the_message(
        self, local: Broker, proxy: Proxy, queue: str, send: Send, length: int
    ):
        send("before")
        proxy.on_bytes(length, "reset")
        with in_time(AT_ONCE), pytest.raises(DeliveryUnknown):
            send("x" * 200_000)
        send("after")
        assert bodies(local, queue) == ["before", "after"]

    def test_a_receipt_of_which_a_part_comes_is_none(self, local: Broker, proxy: Proxy, queue: str, send: Send):
        send("before")
        proxy.on_bytes(len("RECEIPT\nreceipt-id:"), way=DOWN)
        with in_time(AT_ONCE), pytest.raises(ConnectionLost):
            send("unknown")

    def test_of_a_batch_the_caller_learns_which_were_confirmed(
        self, local: Broker, proxy: Proxy, queue: str, open_publisher: Open
    ):
        publisher = open_publisher(proxy.url)
        proxy.on_frame("RECEIPT", way=DOWN, after=2)  # the third still passes
        with in_time(AT_ONCE), pytest.raises(ConnectionLost) as failure:
            publisher.send_many([(queue, number) for number in range(5)])
        assert failure.value.confirmed == (0, 1, 2)
        assert len(local.wait_for(queue, 5)) == 5


class TestErrorFrame:
    """error_frame: the broker answers ERROR to a confirmed SEND."""

    @pytest.mark.parametrize("close", [True, False], ids=["and closes", "and stays open, as brokers do"])
    @pytest.mark.parametrize("receipt_id", [True, False], ids=["naming the receipt", "naming nothing"])
    def test_the_caller_is_told_at_once_in_the_brokers_words(
        self, local: Broker, proxy: Proxy, queue: str, send: Send, receipt_id: bool, close: bool
    ):
        send("before")
        local.faults.error(message="access refused", body="no", receipt_id=receipt_id, close=close)
        with in_time(AT_ONCE), pytest.raises(Rejected, match="access refused: no") as rejection:
            send("rejected")
        assert rejection.value.message == "access refused"
        assert rejection.value.destination == queue
        with in_time(AT_ONCE):
            send("after")
        assert bodies(local, queue) == ["before", "after"]
        assert proxy.connections == 2, "the connection was not discarded"

    def test_a_receipt_that_comes_behind_the_error_is_nobodys(
        self, local: Broker, proxy: Proxy, queue: str, send: Send
    ):
        # RabbitMQ/3.10.8 answers some frames with ERROR and then RECEIPT.
        send("before")
        local.faults.error(close=False, process=True)
        with pytest.raises(Rejected):
            send("rejected")
        send("between")  # no time of the next one goes into connecting
        local.faults.mute("SEND")
        with in_time(SHORT), pytest.raises(ReceiptTimeout):
            send("no receipt", timeout=SHORT)

    def test_an_error_that_nobody_asked_for_costs_no_message(self, local: Broker, proxy: Proxy, queue: str, send: Send):
        send("before")
        local.faults.error_unasked(close=False)
        assert proxy.wait_for(lambda: proxy.frames[DOWN, "ERROR"])
        with in_time(AT_ONCE):
            send("after")
        assert bodies(local, queue) == ["before", "after"]

    def test_garbage_instead_of_a_receipt_leaves_the_outcome_unknown(self, local: Broker, queue: str, send: Send):
        local.faults.garbage()
        with in_time(AT_ONCE), pytest.raises(DeliveryUnknown):
            send("unknown")
        send("after")
        assert bodies(local, queue) == ["unknown", "after"]


class TestHeartBeatCoalesced:
    """hb_coalesced: heart-beats come in one read with the receipt."""

    @pytest.mark.parametrize("count", [1, 2, 100_000])
    def test_the_receipt_is_seen(self, local: Broker, queue: str, send: Send, count: int):
        local.faults.beats_before_answer(count=count)
        with in_time(AT_ONCE):
            send("1")
        assert bodies(local, queue) == ["1"]

    def test_heart_beats_on_an_idle_connection_do_not_make_it_stale(self, local: Broker, proxy: Proxy, send: Send):
        send("1")
        before = proxy.bytes[DOWN]
        local.faults.write(b"\n\n\r\n")
        assert proxy.wait_for(lambda: proxy.bytes[DOWN] >= before + 4)
        send("2")
        assert proxy.connections == 1

    def test_a_receipt_that_comes_byte_by_byte_is_seen(self, proxy: Proxy, local: Broker, queue: str, send: Send):
        proxy.dribble(UP, DOWN)
        with in_time(LONG):
            send("1")
        assert bodies(local, queue) == ["1"]

    def test_a_receipt_that_comes_twice_is_not_taken_for_the_next(self, local: Broker, queue: str, send: Send):
        local.faults.duplicate_receipt(copies=3)
        send("1")
        local.faults.mute("SEND")
        with in_time(SHORT), pytest.raises(ReceiptTimeout):
            send("2", timeout=SHORT)

    def test_a_receipt_of_another_message_is_none(self, local: Broker, queue: str, send: Send):
        send("1")
        local.faults.garbage(b"RECEIPT\nreceipt-id:another\n\n\0")
        with in_time(SHORT, at_least=SHORT), pytest.raises(ReceiptTimeout):
            send("2", timeout=SHORT)


class TestMute:
    """mute: the server accepts TCP and never answers; and every other place in which time can go."""

    def test_a_mute_server_costs_the_deadline_and_nothing_was_sent(self, local: Broker, proxy: Proxy, send: Send):
        proxy.mute()
        with in_time(SHORT, at_least=SHORT), pytest.raises(BrokerUnavailable):
            send("1", timeout=SHORT)
        assert local.connections_accepted == 0

    def test_the_next_calls_do_not_wait_again(
        self, proxy: Proxy, queue: str, open_publisher: Open, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("stomp_web.pool.breaker.random.uniform", lambda *_: 60.0)  # longer than the test
        publisher = open_publisher(proxy.url, timeout=SHORT)
        proxy.mute(times=None)
        with in_time(SHORT), pytest.raises(BrokerUnavailable):
            publisher.send(queue, "x")
        with in_time(AT_ONCE):
            for _ in range(100):
                with pytest.raises(BrokerUnavailable) as failure:
                    publisher.send(queue, "x")
                assert 0 < failure.value.retry_after <= 60
        assert proxy.connections == 1

    def test_many_callers_together_wait_no_longer_than_one(self, proxy: Proxy, queue: str, open_publisher: Open):
        publisher = open_publisher(proxy.url, timeout=SHORT)
        proxy.mute(times=None)
        with in_time(SHORT):
            errors = in_parallel(20, lambda _: publisher.send(queue, "x"))
        assert all(isinstance(error, NotSent) for error in errors)

    @pytest.mark.parametrize("scheme", ["stomp", "stomp+ssl"])
    @pytest.mark.parametrize("fault", ["mute", "frozen", "no answer", "slow answer"])
    def test_wherever_connecting_gets_stuck_it_ends_in_time_and_as_not_sent(
        self, local: Broker, proxy: Proxy, fault: str, scheme: str
    ):
        {
            "mute": proxy.mute,
            "frozen": proxy.freeze,
            "no answer": lambda: proxy.swallow(DOWN),
            "slow answer": lambda: proxy.dribble(DOWN, interval=0.05),
        }[fault]()
        client = PublishClient.from_url(proxy.url.replace("stomp", scheme, 1), timeout=SHORT)
        with in_time(SHORT), pytest.raises(NotSent):
            client.send("/queue/a", "x", confirm=True)

    @pytest.mark.parametrize("fault", ["frozen", "no receipt", "slow receipt", "swallowed message", "slow message"])
    def test_wherever_the_receipt_gets_stuck_it_ends_in_time_and_as_unknown(self, proxy: Proxy, send: Send, fault: str):
        send("before")
        {
            "frozen": proxy.freeze,
            "no receipt": lambda: proxy.swallow(DOWN),
            "slow receipt": lambda: proxy.dribble(DOWN, interval=0.1),
            "swallowed message": lambda: proxy.swallow(UP),
            "slow message": lambda: proxy.dribble(UP, interval=0.1),
        }[fault]()
        with in_time(SHORT, at_least=SHORT), pytest.raises(ReceiptTimeout):
            send("x", timeout=SHORT)
        proxy.clear()
        with in_time(AT_ONCE):
            send("after")

    def test_a_mute_broker_among_several_costs_only_its_share(
        self, local: Broker, proxy: Proxy, queue: str, open_publisher: Open
    ):
        proxy.mute(times=None)
        with Proxy("127.0.0.1", 1) as away:
            host, port = local.address
            publisher = open_publisher(f"{proxy.url},127.0.0.1:{away.port},{host}:{port}", timeout=6)
            with in_time(2, at_least=2):
                publisher.send(queue, 1)
            with in_time(AT_ONCE):
                publisher.send(queue, 2)
        assert len(local.messages(queue)) == 2


class TestStalled:
    """stalled: the broker stops reading, as with a memory alarm, and the application goes on sending 1 MiB messages."""

    MESSAGE = "x" * 1_048_576

    @pytest.fixture
    def proxy(self, local: Broker) -> typing.Iterator[Proxy]:
        with Proxy(*local.address, receive_buffer=65_536) as running:
            yield running

    def test_a_confirmed_message_is_unknown_in_time(self, local: Broker, proxy: Proxy, send: Send):
        send("before")
        proxy.freeze(UP)
        with in_time(SHORT, at_least=SHORT), pytest.raises(ReceiptTimeout):
            send(self.MESSAGE, timeout=SHORT)

    def test_unconfirmed_messages_end_in_time_as_well(self, local: Broker, proxy: Proxy, send: Send):
        send("before")
        proxy.freeze(UP)
        with pytest.raises((DeliveryUnknown, NotSent)):  # noqa: PT012 - which one fails depends on the system's buffers
            for _ in range(20):
                with in_time(SHORT):
                    send(self.MESSAGE, confirm=False, timeout=SHORT)

    def test_a_message_of_which_only_a_part_is_taken_was_not_sent(self, local: Broker, proxy: Proxy, queue: str):
        client = PublishClient.from_url(proxy.url, timeout=SHORT)
        client.connect()
        proxy.freeze(UP)
        with pytest.raises(NotSent, match="did not leave whole"):
            client.send(queue, self.MESSAGE * 20)  # more than the buffers hold: a part has left
        assert not client.connected
        proxy.cut()
        proxy.clear()
        client.send(queue, "after", confirm=True)
        assert bodies(local, queue) == ["after"]
        client.close()

    def test_a_broker_that_talks_while_it_does_not_read_blocks_nobody(self, local: Broker, proxy: Proxy, send: Send):
        send("before")
        proxy.freeze(UP)
        local.faults.write(b"\n" * 1_000_000)
        with in_time(SHORT, at_least=SHORT), pytest.raises(NotSent):
            send(self.MESSAGE * 8, timeout=SHORT)  # more than the buffers hold


class TestNoHeartBeats:
    """hb00: the broker wants no heart-beats."""

    def test_an_idle_client_writes_nothing_and_burns_nothing(self, proxy: Proxy, send: Send):
        send("1")
        written = proxy.bytes[UP]
        before = time.thread_time()
        assert not proxy.wait_for(lambda: proxy.bytes[UP] > written, timeout=0.5)
        assert time.thread_time() - before < 0.1

    def test_no_thread_is_started(self, proxy: Proxy, send: Send):
        before = set(threading.enumerate())
        send("1")
        assert set(threading.enumerate()) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestForked:
    """forked: a connection is open when the process forks, as with `gunicorn --preload`."""

    SENDS = 200
    MESSAGE = "x" * 102_400

    def test_parent_and_child_each_have_a_session_of_their_own(
        self, local: Broker, proxy: Proxy, queue: str, send: Send
    ):
        send("before")

        def send_all(who: str) -> None:
            for _ in range(self.SENDS):
                send(f"{who}{self.MESSAGE}", confirm=False)
            send(who)

        with forked(lambda: send_all("child")):
            send_all("parent")
            # Asked while the child still lives: as many sessions as processes.
            local.wait_for(queue, 1 + 2 * (self.SENDS + 1), PATIENCE)
            assert local.sessions == 2
        arrived = bodies(local, queue)
        assert sorted(set(arrived)) == sorted(
            ["before", "child", "parent", f"child{self.MESSAGE}", f"parent{self.MESSAGE}"]
        ), "bytes of two processes were mixed"
        assert arrived.count("child" + self.MESSAGE) == arrived.count("parent" + self.MESSAGE) == self.SENDS
        assert proxy.connections == 2
        with in_time(AT_ONCE):
            send("the parent's session lives on")
        assert proxy.connections == 2


def in_parallel(count: int, function: typing.Callable[[int], object]) -> list[StompError]:
    """Call *function* in so many threads at once, and return what was raised."""
    errors: list[StompError] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(PATIENCE)
        try:
            function(number)
        except StompError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "some of them hang"
    return errors


@contextlib.contextmanager
def forked(function: typing.Callable[[], object]) -> typing.Iterator[None]:
    """Run *function* in a child while the block runs; the child then ends. Fail if it raises."""
    done, say_done = os.pipe()
    go, say_go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer: this process has threads
        pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(say_go)
            function()
            code = 0
            os.write(say_done, b"1")
            os.read(go, 1)
        except BaseException:  # noqa: BLE001 - nothing may leave the child
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(say_done)
    os.close(go)
    try:
        yield
        with os.fdopen(done, "rb", closefd=False) as pipe:
            finished = pipe.read(1)
    finally:
        os.close(say_go)
        os.close(done)
        _, status = os.waitpid(pid, 0)
    assert finished, "the child did not finish"
    assert status == 0
