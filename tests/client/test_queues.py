"""The queues between the listener loop and its consumers."""

from __future__ import annotations

import logging
import queue
import threading

import pytest

from stomp_web import ConnectionLost, PublishSubscribeClient, QueueingDuplexClient, Rejected
from stomp_web.client.queues import FrameQueue
from stomp_web.protocol import Frame

ONE, TWO, THREE = (Frame("MESSAGE", {"n": number}) for number in "123")
REASON = ConnectionLost("over")


def test_frames_come_out_in_order():
    frames = FrameQueue(10)
    assert frames.empty()
    for frame in (ONE, TWO, THREE):
        assert frames.offer(frame)
    assert frames.qsize() == 3
    assert [frames.get_nowait() for _ in range(3)] == [ONE, TWO, THREE]


def test_an_empty_one_has_nothing_to_give():
    frames = FrameQueue(10)
    with pytest.raises(queue.Empty):
        frames.get_nowait()
    with pytest.raises(queue.Empty):
        frames.get(timeout=0.01)


def test_a_full_one_takes_no_more():
    frames = FrameQueue(1)
    assert frames.offer(ONE)
    assert frames.full()
    assert not frames.offer(TWO)
    assert frames.get() == ONE
    assert frames.offer(TWO)


def test_a_full_one_for_records_loses_the_oldest():
    frames = FrameQueue(2, drop_oldest=True)
    assert all(frames.offer(frame) for frame in (ONE, TWO, THREE))
    assert [frames.get(), frames.get()] == [TWO, THREE]


def test_a_waiting_thread_is_woken_by_a_frame():
    frames = FrameQueue(10)
    got = []
    thread = threading.Thread(target=lambda: got.append(frames.get(timeout=60)))
    thread.start()
    frames.offer(ONE)
    thread.join(120)
    assert got == [ONE]


def test_all_waiting_threads_are_woken_by_the_end_with_its_reason():
    frames = FrameQueue(10)
    reasons = []

    def wait():
        try:
            frames.get()
        except ConnectionLost as reason:
            reasons.append(reason)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    frames.end(REASON)
    for thread in threads:
        thread.join(120)
    assert reasons == [REASON] * 4


def test_what_was_there_before_the_end_can_still_be_taken():
    frames = FrameQueue(10)
    frames.offer(ONE)
    frames.end(REASON)
    assert frames.get() == ONE
    with pytest.raises(ConnectionLost):
        frames.get()


def test_asking_again_and_again_after_the_end_does_not_grow_the_traceback():
    frames = FrameQueue(10)
    frames.end(REASON)
    lengths = []
    for _ in range(50):
        with pytest.raises(ConnectionLost) as failure:
            frames.get()
        lengths.append(len(failure.traceback))
    assert lengths[0] == lengths[-1]


def test_it_can_begin_again():
    frames = FrameQueue(10)
    frames.end(REASON)
    frames.begin()
    with pytest.raises(queue.Empty):
        frames.get_nowait()


class Watch:
    """Notes of each call of a client's surroundings whether the client held its lock meanwhile."""

    def __init__(self):
        self.client = None
        self.held = []

    def look(self):
        if self.client is not None:
            self.held.append(self.client._driver.lock.locked())


class WatchedQueue(FrameQueue):
    def __init__(self, watch):
        super().__init__(2)
        self.watch = watch

    def offer_many(self, frames):
        self.watch.look()
        return super().offer_many(frames)

    def begin(self):
        self.watch.look()
        super().begin()

    def end(self, reason, last=()):
        self.watch.look()
        super().end(reason, last)


@pytest.fixture
def watch():
    """A watch that log handlers call, too."""
    watch = Watch()
    handler = logging.Handler()
    handler.emit = lambda record: watch.look()
    logger = logging.getLogger("stomp_web.client")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield watch
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("end", ["disconnect", "close", "error"])
def test_no_lock_is_held_when_a_queue_or_a_log_handler_is_called(broker, watch, end):
    watch.client = client = QueueingDuplexClient(*broker.address, message_queue=WatchedQueue(watch))
    client.connect()
    client.subscribe("/queue/a")
    for _ in range(3):
        client.send("/queue/a", b"x")
    assert [client.receive().body for _ in range(3)] == [b"x"] * 3
    if end == "error":
        broker.faults.error_unasked("No")
        with pytest.raises(Rejected):
            client.receive()
    else:
        getattr(client, end)()
    assert len(watch.held) >= 5
    assert not any(watch.held)


def test_no_lock_is_held_when_a_callback_is_called(broker, watch):
    with PublishSubscribeClient(*broker.address) as client:
        watch.client = client
        client.subscribe("/queue/a", lambda frame: watch.look())
        client.send("/queue/a", b"x")
        client.receive(0.5)
    assert watch.held
    assert not any(watch.held)
