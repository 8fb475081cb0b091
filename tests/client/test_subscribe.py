"""PublishSubscribeClient: a callback per subscription, in the loop's thread."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest

from stomp_web import InvalidFrame, Message, PublishSubscribeClient, ReceiptTimeout, Rejected
from stomp_web.broker import Broker
from tests.client.listening import Loop
from tests.client.scripted import PATIENCE, eventually


@pytest.fixture
def client(broker):
    client = PublishSubscribeClient(*broker.address, timeout=PATIENCE)
    client.connect()
    yield client
    client.close()


@pytest.fixture
def loop(client):
    running = Loop(client)
    yield running
    client.close()
    assert running.ended()


def test_each_subscription_s_callback_gets_its_messages(client, loop):
    first, second = [], []
    client.subscribe("/queue/a", first.append)
    client.subscribe("/queue/b", second.append)
    for number in range(3):
        client.send("/queue/a", f"a{number}")
        client.send("/queue/b", f"b{number}")
    assert eventually(lambda: len(first) + len(second) == 6)
    assert [frame.body for frame in first] == [b"a0", b"a1", b"a2"]
    assert [frame.body for frame in second] == [b"b0", b"b1", b"b2"]


def test_callbacks_run_in_the_loop_s_thread(client, loop):
    threads = []
    client.subscribe("/queue/a", lambda frame: threads.append(threading.current_thread()))
    client.send("/queue/a")
    assert eventually(lambda: threads == [loop.thread])


def test_they_are_called_without_a_loop_when_a_call_reads(client):
    got = []
    client.subscribe("/queue/a", got.append)
    client.send("/queue/a", b"x", confirm=True)
    assert eventually(lambda: client.receive(0.01) or got)
    assert [frame.body for frame in got] == [b"x"]


def test_what_a_callback_raises_is_logged_and_ends_nothing(client, loop, caplog):
    got = []

    def callback(frame):
        got.append(frame.body)
        if frame.body == b"bad":
            raise KeyError("broken")

    with caplog.at_level(logging.ERROR, "stomp_web.client"):
        client.subscribe("/queue/a", callback, id="mine")
        for body in (b"0", b"bad", b"1"):
            client.send("/queue/a", body)
        assert eventually(lambda: len(got) == 3)
    assert got == [b"0", b"bad", b"1"]
    assert "the callback of subscription mine failed" in caplog.text
    assert "KeyError: 'broken'" in caplog.text
    assert loop.thread.is_alive()


def test_on_error_may_be_overridden(broker):
    errors = []

    class Mine(PublishSubscribeClient):
        def on_error(self, error, frame):
            errors.append((error, frame.body))

    def callback(frame):
        raise KeyError

    with Mine(*broker.address) as client:
        client.subscribe("/queue/a", callback)
        client.send("/queue/a", b"x", confirm=True)
        assert eventually(lambda: client.receive(0.01) or errors)
    ((error, body),) = errors
    assert (type(error), body) == (KeyError, b"x")


def test_a_callback_may_acknowledge_and_send_confirmed(client, loop, broker):
    def callback(frame):
        client.send("/queue/b", frame.body, confirm=True)
        client.ack(frame)

    client.subscribe("/queue/a", callback, ack="client-individual")
    for number in range(20):
        client.send("/queue/a", str(number))
    frames = broker.wait_for("/queue/b", 20)
    assert [frame.body for frame in frames] == [b"%d" % number for number in range(20)]
    assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))


def test_a_callback_may_send_confirmed_before_however_many_messages(broker):
    """Those that stand before its receipt are taken in, though they are more than the queue would hold."""
    messages = 400
    client = PublishSubscribeClient(*broker.address, timeout=PATIENCE, queue_size=5)
    client.connect()
    outcomes: list[object] = []

    def answer(frame):
        try:
            outcomes.append(client.send("/queue/answers", frame.body, confirm=True))
        except ReceiptTimeout as error:
            outcomes.append(error)

    with contextlib.closing(client):
        client.send_many([Message("/queue/a", bytes(2_000))] * messages, confirm=True)  # more than one read takes
        running = Loop(client)
        client.subscribe("/queue/a", answer, ack="client-individual")
        assert eventually(lambda: len(outcomes) == messages, 2 * PATIENCE)
        assert outcomes == [None] * messages
        assert len(broker.messages("/queue/answers")) == messages
    assert running.ended()


def test_a_callback_is_not_called_within_another(client, loop, broker):
    depth, deepest = [0], [0]

    def callback(frame):
        depth[0] += 1
        deepest[0] = max(deepest[0], depth[0])
        client.send("/queue/b", confirm=True)
        depth[0] -= 1

    client.subscribe("/queue/a", callback)
    for _ in range(10):
        client.send("/queue/a")
    broker.wait_for("/queue/b", 10)
    assert deepest == [1]


def test_a_callback_may_subscribe_and_unsubscribe(client, loop, broker):
    got = []

    def callback(frame):
        client.subscribe("/queue/b", got.append)
        client.unsubscribe("first")

    client.subscribe("/queue/a", callback, id="first")
    client.send("/queue/a")
    assert broker.wait_until(lambda: broker.subscribers("/queue/a") == 0 and broker.subscribers("/queue/b") == 1)
    client.send("/queue/b", b"x")
    assert eventually(lambda: [frame.body for frame in got] == [b"x"])


@pytest.mark.parametrize("end", ["disconnect", "close"])
def test_a_callback_may_end_the_loop(client, broker, end):
    running = Loop(client)
    client.subscribe("/queue/a", lambda frame: getattr(client, end)())
    client.send("/queue/a")
    assert running.ended()
    assert running.error is None
    assert broker.received("DISCONNECT") == (end == "disconnect")


def test_a_callback_may_set_the_shutdown_event(client, broker):
    running = Loop(client)
    client.subscribe("/queue/a", lambda frame: client.shutdown_event.set())
    client.send("/queue/a")
    assert running.ended()
    assert running.error is None


def test_after_unsubscribe_it_is_called_no_more(client, loop):
    got = []
    identity = client.subscribe("/topic/a", got.append)
    client.unsubscribe(identity)
    client.send("/topic/a", confirm=True)
    assert got == []


def test_a_refused_subscription_leaves_no_callback():
    with Broker(denied=("/queue/private",)) as broker, PublishSubscribeClient(*broker.address) as client:
        with pytest.raises(Rejected):
            client.subscribe("/queue/private", print, id="mine")
        assert client._received.callbacks == {}


def test_a_second_subscription_of_the_same_id_is_refused_and_the_first_goes_on(client, broker):
    got = []
    client.subscribe("/queue/a", got.append, id="mine")
    with pytest.raises(InvalidFrame, match="'mine' is in use"):
        client.subscribe("/queue/b", print, id="mine")
    client.send("/queue/a", b"x", confirm=True)
    assert eventually(lambda: client.receive(0.01) or got)
    assert [frame.body for frame in got] == [b"x"]
    assert broker.received("SUBSCRIBE") == 1


def test_an_id_is_free_again_after_the_session(client):
    client.subscribe("/queue/a", print, id="mine")
    client.close()
    client.connect()
    client.subscribe("/queue/a", print, id="mine")


ANSWER = b"MESSAGE\ndestination:/queue/x\nmessage-id:1\nsubscription:/temp-queue/x\n\nreply\0"


def test_messages_of_no_subscription_are_dropped_with_one_warning(broker, client, loop, caplog):
    called = threading.Event()
    client.subscribe("/queue/a", lambda frame: called.set())
    broker.faults.write(ANSWER * 2_000)
    client.send("/queue/a")
    assert called.wait(PATIENCE)
    assert client.message_queue.empty()
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "/temp-queue/x" in warnings[0].getMessage()


def test_messages_of_no_subscription_can_be_taken_by_a_hook(broker):
    class Client(PublishSubscribeClient):
        def on_unclaimed(self, frame):
            answers.append(frame.body)
            raise LookupError("in the hook")

        def on_error(self, error, frame):
            errors.append((type(error), frame.body))

    answers, errors = [], []
    with Client(*broker.address) as client:
        broker.faults.write(ANSWER)
        assert eventually(lambda: client.receive(timeout=0.01) or errors)
    assert (answers, errors) == ([b"reply"], [(LookupError, b"reply")])


def test_an_on_error_that_fails_itself_does_not_end_the_loop(broker, caplog):
    class Clumsy(PublishSubscribeClient):
        def on_error(self, error, frame):
            raise RuntimeError("while telling")

    got = []

    def callback(frame):
        got.append(frame.body)
        raise LookupError("in the callback")

    with Clumsy(*broker.address) as client:
        client.subscribe("/queue/a", callback)
        client.send("/queue/a", b"one")
        client.send("/queue/a", b"two", confirm=True)
        assert eventually(lambda: client.receive(0.01) or len(got) == 2)
    assert got == [b"one", b"two"]
    assert "while telling" in caplog.text
    assert "in the callback" in caplog.text


def test_it_can_be_made_from_an_address(broker):
    got = []
    with PublishSubscribeClient.from_url(broker.url, confirm=True) as client:
        client.subscribe("/queue/a", got.append)
        client.send("/queue/a", b"x")
        assert eventually(lambda: client.receive(0.01) or got)
    assert [frame.body for frame in got] == [b"x"]


def test_a_subscription_whose_receipt_did_not_come_in_time_has_its_callback(client, loop, broker):
    """It may be there: its messages must not pile up where nobody takes them."""
    got = []
    broker.faults.mute("SUBSCRIBE")
    with pytest.raises(ReceiptTimeout):
        client.subscribe("/queue/a", got.append, timeout=1)
    client.send("/queue/a", b"x")
    assert eventually(lambda: [frame.body for frame in got] == [b"x"])
