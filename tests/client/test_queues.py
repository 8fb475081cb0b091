"""The queues between the listener loop and its consumers."""

from __future__ import annotations

import queue
import threading

import pytest

from stomp_web import ConnectionLost
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
    thread = threading.Thread(target=lambda: got.append(frames.get(timeout=5)))
    thread.start()
    frames.offer(ONE)
    thread.join(30)
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
        thread.join(30)
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
