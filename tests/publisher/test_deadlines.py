"""One deadline holds for a whole call: serializing, connecting, writing, the receipt, and every further try."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time

import pytest

from stomp_web import BrokerUnavailable, NotSent, PublishClient, Publisher, ReceiptTimeout, serializers
from stomp_web.protocol import Frame
from tests.client.scripted import Peer
from tests.faults.clock import watch


def test_the_time_for_a_call_includes_its_serialization(make_publisher, broker, monkeypatch):
    class Slow(serializers.TextSerializer):
        name = "slow"
        content_type = "text/x-slow"

        def dumps(self, payload):
            never.wait(0.3)
            return super().dumps(payload)

    never = threading.Event()
    monkeypatch.setattr(serializers.registry, "_serializers", dict(serializers.registry._serializers))
    serializers.register(Slow())
    publisher = make_publisher(serializer="slow", timeout=0.2)
    with pytest.raises(NotSent):
        publisher.send("/queue/a", "1")
    with pytest.raises(NotSent):
        make_publisher(serializer="slow").send("/queue/a", "1", timeout=0.2)
    assert broker.messages("/queue/a") == []


@pytest.mark.parametrize("door", [PublishClient, Publisher])
def test_bytes_that_come_without_an_end_do_not_prolong_the_deadline(serve, door):
    over = threading.Event()
    line_ends = b"\n" * 8_388_608  # so many that some always wait to be read

    def floods(peer: Peer) -> None:
        peer.accept()
        peer.expect("SEND")
        with contextlib.suppress(OSError):
            while not over.is_set():
                peer.write(line_ends)

    url = serve(floods).url
    client = PublishClient.from_url(url) if door is PublishClient else Publisher(url)
    began = time.monotonic()
    try:
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"x" if door is PublishClient else "x", confirm=True, timeout=3)
        assert time.monotonic() - began < 30
    finally:
        over.set()
        client.close()


def test_one_deadline_holds_for_connecting_and_for_the_receipt(serve):
    over = threading.Event()

    def slow(peer: Peer) -> None:
        peer.expect("CONNECT")
        over.wait(4)
        peer.send(Frame("CONNECTED", {"version": "1.2"}))
        peer.wait_for_end()

    client = PublishClient.from_url(serve(slow).url, timeout=8, connect_timeout=60)
    with watch() as stopwatch, pytest.raises(ReceiptTimeout):
        client.send("/queue/a", b"x", confirm=True)
    assert stopwatch.seconds < 11.5 + stopwatch.late  # and not 12 or more
    client.close()


def test_a_second_try_has_no_time_of_its_own(serve):
    """The first one waits for a broker that takes no byte; the time for both is the publisher's."""
    over = threading.Event()
    server = serve(
        lambda peer: (peer.accept(), peer.receipt(peer.frame()), over.wait(60)),
        lambda peer: over.wait(60),
        receive_buffer=4096,
    )
    with Publisher(server.url, timeout=5) as publisher:
        publisher.send("/queue/a", 1, timeout=60)
        (lease,) = publisher._backend._pool._states[os.getpid()].idle
        sock = lease.client.state.session.transport._socket
        with pytest.raises(BlockingIOError):  # until the buffers of both sides are full  # noqa: PT012
            while True:
                while select.select([], [sock], [], 0.02)[1]:
                    sock.send(bytes(65_536), getattr(socket, "MSG_DONTWAIT", 0))
                sock.send(bytes(65_536), getattr(socket, "MSG_DONTWAIT", 0))
        lease.idle_since = time.monotonic()
        with watch() as stopwatch, pytest.raises(BrokerUnavailable):
            publisher.send("/queue/a", 2)
        assert stopwatch.seconds < 9 + stopwatch.late  # and not 10
        over.set()
