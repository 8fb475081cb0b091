"""Frames that stand before a malformed one, in the same read, count: they are handed out, or are answers, first."""

from __future__ import annotations

import contextlib

import pytest

from stomp_web import (
    ConnectionLost,
    Message,
    PublishClient,
    PublishSubscribeClient,
    QueueingDuplexClient,
    ReceiptTimeout,
    StompError,
)
from tests.client.listening import Loop
from tests.client.scripted import eventually

GARBAGE = b"GARBAGE\n\n\0"


def message(number, subscription="sub-1"):
    head = f"MESSAGE\nsubscription:{subscription}\nmessage-id:{number}\ndestination:/queue/a\ncontent-length:1\n\n"
    return head.encode() + b"%d\0\n" % number


def receipt(frame):
    return f"RECEIPT\nreceipt-id:{frame.headers['receipt']}\n\n\0\n".encode()


def three_and_garbage(peer):
    peer.accept()
    subscribe = peer.expect("SUBSCRIBE")
    three = b"".join(message(number) for number in range(3))
    peer.write(receipt(subscribe) + three + GARBAGE)
    peer.wait_for_end()


def answer_and_garbage(peer):
    peer.accept()
    peer.write(receipt(peer.expect("SEND")) + GARBAGE)
    peer.wait_for_end()


def drain(client, frames):
    with pytest.raises(ConnectionLost, match="not STOMP"):  # noqa: PT012
        while True:
            frames.append(client.receive(timeout=60))
            assert frames[-1] is not None


def test_receive_hands_them_out(serve):
    client = QueueingDuplexClient("127.0.0.1", serve(three_and_garbage).port)
    client.connect()
    client.subscribe("/queue/a")
    frames = []
    drain(client, frames)
    assert [frame.body for frame in frames] == [b"0", b"1", b"2"]


def test_the_loop_puts_them_on_the_queue(serve):
    client = QueueingDuplexClient("127.0.0.1", serve(three_and_garbage).port)
    client.connect()
    loop = Loop(client)
    client.subscribe("/queue/a")
    assert loop.ended()
    assert "not STOMP" in str(loop.error)
    assert [client.message_queue.get(timeout=60).body for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(ConnectionLost, match="not STOMP"):
        client.message_queue.get(timeout=60)


def test_callbacks_are_called_with_them(serve):
    client = PublishSubscribeClient("127.0.0.1", serve(three_and_garbage).port)
    client.connect()
    bodies = []
    loop = Loop(client)
    client.subscribe("/queue/a", lambda frame: bodies.append(frame.body))
    assert loop.ended()
    assert bodies == [b"0", b"1", b"2"]


def test_process_puts_them_on_the_queue(serve):
    client = QueueingDuplexClient("127.0.0.1", serve(three_and_garbage).port)
    client.connect()
    client.subscribe("/queue/a")

    def ended():
        try:
            client.process()
        except ConnectionLost as error:
            return error
        return None

    assert eventually(ended)
    assert [client.message_queue.get(timeout=60).body for _ in range(3)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("kind", [PublishClient, QueueingDuplexClient])
def test_a_receipt_before_garbage_confirms(serve, kind):
    client = kind("127.0.0.1", serve(answer_and_garbage).port)
    client.connect()
    client.send("/queue/a", b"x", confirm=True)
    client.close()


def test_a_receipt_before_garbage_confirms_while_a_loop_runs(serve):
    client = QueueingDuplexClient("127.0.0.1", serve(answer_and_garbage).port)
    client.connect()
    loop = Loop(client)
    client.send("/queue/a", b"x", confirm=True)
    assert loop.ended()


@pytest.mark.parametrize("kind", [PublishClient, QueueingDuplexClient])
def test_the_receipts_of_a_batch_before_garbage_count(serve, kind):
    def script(peer):
        peer.accept()
        peer.write(receipt(peer.expect("SEND")) + receipt(peer.expect("SEND")) + GARBAGE)
        peer.expect("SEND")
        peer.wait_for_end()

    client = kind("127.0.0.1", serve(script).port)
    client.connect()
    with pytest.raises(ConnectionLost) as failure:
        client.send_many([Message("/queue/a", b"x")] * 3, confirm=True)
    assert failure.value.confirmed == (0, 1)


class TestWhatNobodyWaitsFor:
    """Nothing that a broker sends unasked grows without end or holds up what is asked for."""

    def test_receipts_errors_and_connected_frames_are_bounded(self, serve):
        def script(peer):
            peer.accept()
            subscribe = peer.expect("SUBSCRIBE")
            peer.write(b"RECEIPT\nreceipt-id:nobody\n\n\0\n" * 5_000 + receipt(subscribe))
            send = peer.expect("SEND")
            peer.write(b"CONNECTED\nversion:1.2\n\n\0" * 100 + receipt(send))
            peer.wait_for_end()

        client = QueueingDuplexClient("127.0.0.1", serve(script).port, queue_size=10)
        client.connect()
        client.subscribe("/queue/a")
        client.send("/queue/a", confirm=True)
        assert client.receipt_queue.qsize() == 10
        assert client.connected_queue.qsize() <= 10
        client.close()

    def test_subscriptions_that_have_ended_are_forgotten(self, broker):
        with QueueingDuplexClient(*broker.address) as client:
            for _ in range(5):
                client.unsubscribe(client.subscribe("/queue/a"))
            assert client._received.ack_modes == {}

    def test_messages_that_come_while_a_callback_waits_for_its_receipt_are_bounded(self, serve, monkeypatch):
        monkeypatch.setattr("stomp_web.client.subscribe._MOST_LATER", 1_000_000)

        def script(peer):
            peer.accept()
            peer.write(receipt(peer.expect("SUBSCRIBE")) + message(0))
            peer.expect("SEND")
            with contextlib.suppress(OSError):
                peer.write(message(1) * 200_000)  # 16 MB, more than the sockets hold

        def callback(frame):
            if not kept:
                with pytest.raises(ReceiptTimeout):
                    client.send("/queue/b", confirm=True, timeout=3)
                kept.append(len(client._received.later))
                client.close()

        kept = []
        client = PublishSubscribeClient("127.0.0.1", serve(script).port, queue_size=10)
        client.connect()
        with contextlib.suppress(StompError):  # the callback closes the client, and may be called by subscribe
            client.subscribe("/queue/a", callback)
            while not kept:
                client.receive(timeout=0.01)
        assert 0 < kept[0] <= 2_000  # each counts as 1,001 bytes, and a read holds less than 1,000 of them
