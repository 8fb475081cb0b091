"""How a client waits for an answer: for a moment in the read itself, where that can be had, and then by a poll."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from stomp_web import Message, PublishClient, ReceiptTimeout
from stomp_web.connection.transport import Transport


@pytest.fixture
def without_waiting_reads(monkeypatch):
    """As on any system but Linux, and as where gevent has replaced the sockets."""
    monkeypatch.setattr(Transport, "_let_reads_wait", lambda transport: None)


@pytest.mark.usefixtures("without_waiting_reads")
class TestWithoutWaitingReads:
    def test_messages_are_confirmed_one_by_one_and_together(self, client, broker):
        for number in range(3):
            client.send("/queue/a", str(number), confirm=True)
        client.send_many([Message("/queue/a", str(number)) for number in range(3, 6)], confirm=True)
        client.send("/queue/a", bytes(300_000), confirm=True)
        frames = broker.messages("/queue/a")
        assert [frame.body for frame in frames[:6]] == [b"0", b"1", b"2", b"3", b"4", b"5"]
        assert (len(frames), len(frames[6].body)) == (7, 300_000)

    def test_an_answer_that_does_not_come_is_not_waited_for(self, client, broker):
        client.connect()
        broker.faults.mute("SEND")
        began = time.monotonic()
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"", confirm=True, timeout=1)
        assert time.monotonic() - began < 30


def test_an_answer_that_comes_late_is_still_the_answer(client, broker):
    """Later than a read waits by itself."""
    broker.faults.delay(0.05, "SEND")
    client.send("/queue/a", b"1", confirm=True)
    client.send("/queue/a", b"2", confirm=True)
    assert broker.connections_accepted == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such timer")
def test_the_signals_of_a_timer_do_not_stretch_a_wait(client, broker):
    """As those of a profiler. Python begins an interrupted read anew, and with it the system's own limit for it."""
    end = time.monotonic() + 30

    def note(*_):
        assert time.monotonic() < end, "the wait goes on for as long as signals come"

    client.connect()
    broker.faults.mute("SEND")
    before = signal.signal(signal.SIGALRM, note)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"", confirm=True, timeout=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_GEVENT = """
from gevent import monkey
monkey.patch_all()
import json, sys, time
import gevent
from stomp_web import PublishClient, ReceiptTimeout

client = PublishClient(sys.argv[1], int(sys.argv[2]))
client.send("/queue/a", b"1", confirm=True)
turns = 0

def turn():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.01)

gevent.spawn(turn)
began = time.monotonic()
try:
    client.send("/queue/mute", b"2", confirm=True, timeout=1)
    outcome = "confirmed"
except ReceiptTimeout:
    outcome = "timeout"
print(json.dumps([outcome, time.monotonic() - began < 30, turns > 5]))
"""


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed: pip install gevent")
def test_gevent_s_sockets_keep_the_time_and_let_others_work(broker):
    broker.faults.mute("SEND", after=1)
    done = subprocess.run(
        [sys.executable, "-c", _GEVENT, *map(str, broker.address)], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["timeout", True, True]


def test_a_system_with_a_slow_clock_is_left_as_it_is(broker, monkeypatch):
    """Its reads would wait for so long that the signals of a timer could stretch them without end."""
    monkeypatch.setattr("stomp_web.connection.transport._LONGEST_WAIT", (0, 0))
    with PublishClient(*broker.address, timeout=60) as client:
        assert not os.get_blocking(client.state.session.transport.fileno())
        client.send("/queue/a", b"1", confirm=True)
