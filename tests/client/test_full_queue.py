"""A full message queue: the client reads no further, and loses nothing."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from stomp_web import (
    ConnectionLost,
    Message,
    QueueingDuplexClient,
    ReceiptTimeout,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.client.listening import Loop
from tests.client.scripted import PATIENCE, eventually


class TestFullQueue:
    def test_it_loses_nothing_and_answers_go_on(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=60, timeout=PATIENCE)
        running = Loop(client)
        client.subscribe("/queue/a")
        for number in range(100):
            client.send("/queue/a", str(number))
        assert eventually(client.message_queue.full)
        client.send("/queue/b", confirm=True)
        got = [client.message_queue.get(timeout=PATIENCE).body for _ in range(100)]
        assert got == [b"%d" % number for number in range(100)]
        client.close()
        assert running.ended()

    def test_a_receipt_behind_too_many_messages_is_a_timeout_that_says_so(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=5)
        running = Loop(client)
        client.subscribe("/queue/a")
        bodies = [b"%4096d" % number for number in range(100)]  # the receipt stands behind more than one read takes
        for body in bodies:
            client.send("/queue/a", body)
        assert eventually(client.message_queue.full)
        with pytest.raises(ReceiptTimeout, match="queue is full"):
            client.send("/queue/b", confirm=True, timeout=1)
        assert [client.message_queue.get(timeout=PATIENCE).body for _ in range(100)] == bodies
        client.close()
        assert running.ended()

    def test_heart_beats_go_on(self):
        with Broker(heart_beat=(1000, 1000)) as broker:
            self.check_that_heart_beats_go_on(broker)

    def check_that_heart_beats_go_on(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=1, heart_beat=(1000, 1000))
        running = Loop(client)
        client.subscribe("/queue/a")
        for _ in range(5):
            client.send("/queue/a")
        assert eventually(client.message_queue.full)
        running.thread.join(4.5)  # the broker disconnects a client that is silent for twice its time
        assert (client.connected, broker.sessions) == (True, 1)
        assert len([client.message_queue.get(timeout=PATIENCE) for _ in range(5)]) == 5
        client.close()
        assert running.ended()

    def test_frames_for_which_there_was_no_room_can_still_be_taken_after_the_end(self, scripted):
        """They were taken from the broker already, who will not send them again."""
        over = threading.Event()

        def script(peer):
            peer.accept()
            for number in range(3):
                peer.send(
                    Frame("MESSAGE", {"destination": "/a", "message-id": "1", "subscription": "1"}, b"%d" % number)
                )
            over.wait(PATIENCE)
            peer.wait_for_end()

        client = scripted(script, queue_size=1)
        running = Loop(client)
        assert eventually(client.message_queue.full)
        assert eventually(lambda: client._received.held)
        client.close()
        assert running.ended()
        over.set()
        got = []
        with pytest.raises(ConnectionLost):  # noqa: PT012
            while True:
                got.append(client.message_queue.get(timeout=1).body)
        assert got == [b"%d" % number for number in range(len(got))]
        assert len(got) >= 2

    def test_a_reset_while_it_is_full_does_not_keep_the_processor_busy(self, scripted):
        frame = Frame("MESSAGE", {"destination": "/a", "message-id": "1", "subscription": "1"})

        def script(peer):
            peer.accept()
            for _ in range(3):
                peer.send(frame)
            full.wait(PATIENCE)
            peer.reset()
            gone.set()

        full, gone = threading.Event(), threading.Event()
        client = scripted(script, queue_size=1)
        running = Loop(client)
        assert eventually(client.message_queue.full)
        assert eventually(lambda: client._received.held)
        full.set()
        assert gone.wait(PATIENCE)
        before = time.thread_time_ns(), time.process_time()
        running.thread.join(0.2)
        assert time.process_time() - before[1] < 0.15
        client.message_queue.get_nowait()
        client.message_queue.get(timeout=PATIENCE)
        assert running.ended()
        assert isinstance(running.error, ConnectionLost)

    def test_a_sender_whose_time_is_over_takes_nothing_out_of_order(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=20, timeout=PATIENCE)
        running = Loop(client)
        client.subscribe("/queue/a")
        over = threading.Event()

        def send_in_vain():
            while not over.is_set():
                with contextlib.suppress(ReceiptTimeout):
                    client.send("/queue/b", confirm=True, timeout=0.0005)

        threads = [threading.Thread(target=send_in_vain) for _ in range(3)]
        for thread in threads:
            thread.start()
        with QueueingDuplexClient(*broker.address) as other:
            other.send_many([Message("/queue/a", str(number)) for number in range(3000)])
            got = [int(client.message_queue.get(timeout=PATIENCE).body) for _ in range(3000)]
        over.set()
        for thread in threads:
            thread.join(120)
        assert got == list(range(3000))
        client.close()
        assert running.ended()
        assert running.error is None
