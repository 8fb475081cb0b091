"""What has left and what has not, where the other side stalls: over TLS too, nothing is told that is not true."""

from __future__ import annotations

import collections
import contextlib
import itertools
import ssl
import threading
import time

import pytest

from stomp_web import ConnectionLost, Message, MessageError, NotSent, PublishClient, Publisher, ReceiptTimeout
from tests.client.scripted import PATIENCE, Peer, eventually, news

KB_10 = bytes(10_000)


@pytest.fixture(scope="module")
def context(authority):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


def test_a_batch_of_which_a_part_arrived_is_not_said_to_be_not_sent(serve, context, ca_file):
    taken, over = [], threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        taken.extend(peer.frame().headers["x-message-id"] for _ in range(20))
        over.wait(PATIENCE)

    batch = [Message("/queue/a", KB_10, {"x-message-id": str(number)}) for number in range(2_000)]
    client = PublishClient.from_url(serve(script, tls=context).url, tls_ca=ca_file)
    client.connect()
    with pytest.raises(ReceiptTimeout, match=r"whether the first \d+ of 2000 messages arrived is not known") as failure:
        client.send_many(batch, confirm=True, timeout=5)
    assert eventually(lambda: len(taken) == 20)
    over.set()
    first = failure.value.not_sent[0]
    assert failure.value.not_sent == tuple(range(first, 2_000))
    assert first >= 20


def test_a_batch_of_which_a_part_arrived_is_not_sent_again(serve, context, ca_file):
    taken: collections.Counter[str] = collections.Counter()

    def script(peer: Peer) -> None:
        peer.accept()
        taken.update(peer.frame().headers["x-message-id"] for _ in range(20))
        peer.reset()

    url = serve(script, tls=context).url
    with Publisher(url, tls_ca=ca_file, serializer="bytes") as publisher, pytest.raises(ConnectionLost):
        publisher.send_many([("/queue/a", KB_10)] * 2_000)
    assert set(taken.values()) == {1}


def test_large_messages_and_batches_arrive_whole(serve, context, ca_file):
    bodies = []

    def script(peer: Peer) -> None:
        peer.accept()
        with contextlib.suppress(EOFError):
            while True:
                frame = peer.frame()
                bodies.append(frame.body)
                if "receipt" in frame.headers:
                    peer.receipt(frame)

    large = bytes(range(256)) * 20_000
    with PublishClient.from_url(serve(script, tls=context).url, tls_ca=ca_file) as client:
        client.send("/queue/a", large, confirm=True)
        client.send_many([Message("/queue/a", KB_10)] * 200, confirm=True)
        client.send("/queue/a", b"x" * 16_384, confirm=True)
    assert bodies[:-1] == [large, *[KB_10] * 200, b"x" * 16_384]


def test_what_was_not_sent_is_not_sent_with_the_next_message(serve, context, ca_file, monkeypatch):
    """The deadline passes between the first try, of which OpenSSL keeps a record, and the second."""
    go, taken = threading.Event(), []

    def script(peer: Peer) -> None:
        peer.accept()
        go.wait(PATIENCE)
        with contextlib.suppress(EOFError, OSError):
            while True:
                frame = peer.frame()
                taken.append(frame.headers["n"])
                if "receipt" in frame.headers:
                    peer.receipt(frame)

    with contextlib.closing(PublishClient.from_url(serve(script, tls=context).url, tls_ca=ca_file)) as client:
        client.connect()
        write = client.state.session.write_some

        def write_slowly(data):
            sent = write(data)
            if not sent:
                time.sleep(0.06)  # longer than the call may take
            return sent

        monkeypatch.setattr(client.state.session, "write_some", write_slowly)
        numbers = itertools.count()

        def send_until_the_buffers_are_full():
            while True:
                client.send("/queue/a", b"A" * 10_000, {"n": str(next(numbers))}, timeout=0.05)

        with pytest.raises(NotSent):
            send_until_the_buffers_are_full()
        refused = str(next(numbers) - 1)
        go.set()
        client.send("/queue/a", b"B" * 10_000, {"n": "last"}, confirm=True)
    assert "last" in taken
    assert refused not in taken


FLOODS = {
    "line ends": b"\n" * 65_536,
    "receipts": b"RECEIPT\nreceipt-id:none\n\n\0" * 2_000,
    "messages": b"MESSAGE\nmessage-id:1\ndestination:/queue/a\nsubscription:1\n\n\0" * 1_000,
}


@pytest.mark.parametrize("flood", FLOODS)
class TestFlood:
    """A broker, or whoever answers there, that sends without end."""

    def flooding(self, flood: str, begin: threading.Event, *, reads: bool):
        def script(peer: Peer) -> None:
            peer.accept()
            peer.sock.settimeout(None)
            if reads:
                peer.frame()
            begin.set()
            with contextlib.suppress(OSError):
                while True:
                    peer.write(FLOODS[flood])

        return script

    def test_instead_of_an_answer(self, serve, flood):
        server = serve(self.flooding(flood, threading.Event(), reads=True))
        with contextlib.closing(PublishClient("127.0.0.1", server.port)) as client:
            began = time.monotonic()
            with pytest.raises(MessageError):
                client.send("/queue/a", confirm=True, timeout=0.2)
            assert time.monotonic() - began < 30

    def test_before_a_message(self, serve, flood):
        begin = threading.Event()
        server = serve(self.flooding(flood, begin, reads=False))
        with contextlib.closing(PublishClient("127.0.0.1", server.port)) as client:
            client.connect()
            assert begin.wait(PATIENCE)
            assert news(client.state.session)
            began = time.monotonic()
            client.connected  # noqa: B018 - it looks, and must not look for ever
            assert time.monotonic() - began < 30

    def test_while_it_is_written(self, serve, flood):
        begin = threading.Event()
        server = serve(self.flooding(flood, begin, reads=False), receive_buffer=65_536)
        with contextlib.closing(PublishClient("127.0.0.1", server.port)) as client:
            client.connect()
            session = client.state.session
            began = time.monotonic()
            with pytest.raises(MessageError):
                client.send_many([Message("/queue/a", bytes(1_000_000))] * 30, timeout=0.3)
            assert time.monotonic() - began < 30
            assert len(session._buffer) < 20_000_000
