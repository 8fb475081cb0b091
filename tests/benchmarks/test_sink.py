"""The sink counts every frame and answers every receipt, whatever way the bytes come."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from benchmarks.children import Sink
from benchmarks.frames import GO, connect_frame, message_frames, receiving_destination, send_frame

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the sink needs epoll")

DISCONNECT = b"DISCONNECT\nreceipt:bye\n\n\0"
GO_FRAME = f"SEND\ndestination:{GO}\n\n\0".encode()


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


class Peer:
    """A connection to the sink, after CONNECTED."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(connect_frame())
        assert self.read(1)[0].startswith(b"CONNECTED\nversion:1.2\n")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, frames: int) -> list[bytes]:
        """The next frames, and nothing behind them."""
        data = b""
        while data.count(b"\0") < frames:
            part = self._socket.recv(65536)
            assert part, "the sink has closed the connection"
            data += part
        assert data.count(b"\0") == frames
        assert data.endswith(b"\0")
        return data.split(b"\0")[:-1]

    def vanish(self) -> None:
        self._socket.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.send(DISCONNECT)
                assert self.read(1) == [b"RECEIPT\nreceipt-id:bye\n\n"]
        finally:
            self.vanish()


@pytest.fixture(params=["counting", "answering"])
def peer(sink: Sink, request: pytest.FixtureRequest) -> Iterator[Peer]:
    with Peer(getattr(sink, request.param)) as peer:
        sink.reset()
        yield peer


@pytest.mark.parametrize("size", [0, 200, 1024, 10_240, 1_048_576])
def test_it_counts_all_messages_before_the_last_receipt(sink: Sink, peer: Peer, size: int) -> None:
    for _ in range(20):
        peer.send(send_frame(size))
    peer.send(send_frame(0, "last"))
    assert peer.read(1) == [b"RECEIPT\nreceipt-id:last\n\n"]
    assert sink.taken() == {"sends": 21, "acks": 0, "messages": 0, "strange": 0}


@pytest.mark.parametrize("cut", [1, 7, 100, 1000])
def test_it_counts_the_same_when_the_bytes_come_in_pieces(sink: Sink, peer: Peer, cut: int) -> None:
    data = send_frame(200) * 3 + b"\n\n" + send_frame(1024) + send_frame(0, "last")
    for start in range(0, len(data), cut):
        peer.send(data[start : start + cut])
    assert peer.read(1) == [b"RECEIPT\nreceipt-id:last\n\n"]
    assert sink.taken()["sends"] == 5


def test_neither_the_beginning_nor_the_end_of_a_session_counts(sink: Sink) -> None:
    sink.reset()
    for port in (sink.counting, sink.answering):
        with Peer(port):
            pass
    assert sink.taken() == {"sends": 0, "acks": 0, "messages": 0, "strange": 0}


def test_a_reset_begins_anew(sink: Sink, peer: Peer) -> None:
    peer.send(send_frame(200, "1"))
    peer.read(1)
    sink.reset()
    assert sink.taken()["sends"] == 0


def test_each_receipt_is_answered_in_its_order(sink: Sink) -> None:
    with Peer(sink.answering) as peer:
        peer.send(send_frame(200, "1") + send_frame(200) + send_frame(1_048_576, "2") + send_frame(10_240) + b"\n")
        peer.send(send_frame(0, r"with\cescape"))
        assert peer.read(3) == [b"RECEIPT\nreceipt-id:%b\n\n" % receipt for receipt in (b"1", b"2", rb"with\cescape")]
        assert sink.taken()["sends"] == 5


def subscription(messages: int) -> bytes:
    destination = receiving_destination(messages, 200)
    return f"SUBSCRIBE\nid:abc\ndestination:{destination}\nack:client-individual\nreceipt:s\n\n\0".encode()


def test_a_subscriber_gets_its_messages_after_the_word_to_go(sink: Sink) -> None:
    with Peer(sink.answering) as peer, Peer(sink.answering) as other:
        sink.reset()
        peer.send(subscription(3000))
        assert peer.read(1) == [b"RECEIPT\nreceipt-id:s\n\n"]
        other.send(GO_FRAME)
        assert [frame + b"\0" for frame in peer.read(3000)] == message_frames(3000, 200, b"abc", ack=True)
        peer.send(b"ACK\nid:1\n\n\0" * 2 + b"ACK\nid:1\nreceipt:a\n\n\0")
        peer.read(1)
        assert sink.taken() == {"sends": 1, "acks": 3, "messages": 3000, "strange": 0}


def test_what_is_no_frame_of_a_client_is_told(sink: Sink, peer: Peer) -> None:
    peer.send(b"NONSENSE\nreceipt:1\n\n\0")
    peer.read(1)
    assert sink.taken()["strange"] == 1


def test_a_client_that_vanishes_does_no_harm(sink: Sink) -> None:
    peer = Peer(sink.answering)
    with Peer(sink.answering) as other:
        peer.send(subscription(50_000))
        peer.read(1)
        other.send(GO_FRAME)
        peer.vanish()
        other.send(send_frame(200, "1"))
        other.read(1)
