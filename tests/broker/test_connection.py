"""The limits and timeouts of one client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

import pytest

from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.broker.wire import Wire
from tests.client.scripted import eventually


def arrives(broker: Broker, wire: Wire, data: bytes) -> None:
    """Write *data*, and wait until the broker has read them."""
    ours = wire.sock.getsockname()
    (connection,) = (each for each in broker._loop.connections.values() if each.sock.getpeername() == ours)
    before = connection._last_read
    wire.write(data)
    assert eventually(lambda: connection._last_read > before)


class TestHeartBeats:
    @pytest.mark.parametrize(
        ("client", "server"),
        [("0,0", "0,0"), ("0,500", "500,0"), ("700,0", "0,700"), ("5000,10000", "10000,5000"), ("1,1", "100,100")],
    )
    def test_the_broker_answers_with_what_was_agreed(self, open_wire, client, server):
        assert open_wire().connect(heart_beat=client).headers["heart-beat"] == server

    def test_a_broker_can_do_without(self):
        with Broker(heart_beat=(0, 0)) as broker, Wire(broker) as wire:
            assert wire.connect(heart_beat="100,100").headers["heart-beat"] == "0,0"

    def test_the_broker_beats_in_time(self, open_wire):
        wire = open_wire()
        wire.connect(heart_beat="0,200")
        began = time.monotonic()
        for _ in range(5):
            assert wire.sock.recv(1) == b"\n"
        assert time.monotonic() - began < 30

    def test_a_client_that_is_silent_for_twice_its_time_is_disconnected(self, open_wire, broker):
        wire = open_wire()
        began = time.monotonic()
        wire.connect(heart_beat="100,0")
        assert wire.ends()
        assert time.monotonic() - began > 0.19
        assert broker.sessions == 0

    def test_a_client_that_beats_is_not(self, connect, broker, clock):
        wire = connect(heart_beat="3600000,0")  # an hour: the broker's patience is two
        for _ in range(12):
            clock.forward(broker, 5400)
            arrives(broker, wire, b"\n")
        wire.put("/queue/a", b"x")
        clock.forward(broker, 7200)
        assert wire.ends()

    def test_1_0_has_none(self, open_wire):
        assert "heart-beat" not in open_wire().connect("1.0", heart_beat="100,100").headers


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "frame"),
        [
            ({"max_header_bytes": 1000}, Frame("SEND", {"destination": "/queue/a", "x": "y" * 1000})),
            ({"max_headers": 10}, Frame("SEND", {"destination": "/queue/a"} | {str(n): "x" for n in range(10)})),
            ({"max_body_bytes": 1000}, Frame("SEND", {"destination": "/queue/a"}, b"x" * 1001)),
            ({"max_body_bytes": 1000}, Frame("SEND", {"destination": "/queue/a"}, b"x" * 3_000_000)),
        ],
        ids=["header bytes", "headers", "body", "much larger body"],
    )
    def test_beyond_a_limit_is_an_error_that_arrives_and_the_end(self, limits, frame):
        with Broker(**limits) as broker, Wire(broker) as wire:
            wire.connect()
            wire.send(frame)
            answer = wire.receive()
            assert answer.command == "ERROR"
            assert answer.headers["message"] == "Malformed frame"
            assert wire.ends()
            assert broker.messages("/queue/a") == []

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0", b"\xff" * 100])
    def test_what_is_not_stomp_is_answered_by_an_error_and_the_end(self, open_wire, data):
        wire = open_wire()
        wire.write(data)
        assert wire.receive().command == "ERROR"
        assert wire.ends()

    def test_a_client_that_never_connects_is_disconnected(self, clock):
        with Broker(connect_timeout=3600) as broker, Wire(broker) as silent, Wire(broker) as polite:
            polite.connect()
            assert broker.wait_until(lambda: broker.connections == 2)
            clock.forward(broker, 1800)
            arrives(broker, silent, b"\n")  # which is no CONNECT
            assert broker.connections == 2
            clock.forward(broker, 1800)
            assert silent.ends()
            assert polite.nothing_waits()

    def test_a_client_that_does_not_close_after_the_end_is_closed(self):
        with Broker(linger=0.1) as broker, Wire(broker) as wire:
            wire.connect()
            wire.do("DISCONNECT")
            assert broker.wait_until(lambda: broker.connections == 0)

    def test_frames_one_byte_per_write_are_understood(self, connect, broker):
        wire = connect()
        for byte in b"SEND\ndestination:/queue/a\nreceipt:1\ncontent-length:3\n\na\0b\0\n":
            wire.write(bytes([byte]))
        assert wire.receive().command == "RECEIPT"
        assert broker.messages("/queue/a")[0].body == b"a\0b"

    def test_half_a_frame_has_no_effect(self, connect, broker):
        wire = connect()
        wire.write(b"SEND\ndestination:/queue/a\n\nhalf")
        wire.sock.close()
        assert broker.wait_until(lambda: broker.connections == 0)
        assert broker.messages("/queue/a") == []

    def test_what_was_sent_before_the_socket_was_closed_is_accepted(self, connect, broker):
        wire = connect()
        for _ in range(500):
            wire.send(Frame("SEND", {"destination": "/queue/a"}, b"x"))
        wire.sock.close()
        assert len(broker.wait_for("/queue/a", 500)) == 500

    def test_a_client_that_has_no_more_to_say_still_gets_its_answers(self, connect):
        wire = connect()
        wire.send(Frame("SEND", {"destination": "/queue/a", "receipt": "1"}, b"x"))
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.receive().command == "RECEIPT"
        assert wire.ends()


class TestSlowClients:
    def test_a_consumer_that_does_not_read_holds_up_nobody_and_is_given_no_more(self, connect, open_wire, broker):
        slow = open_wire(receive_buffer=4096)
        slow.connect()
        slow.subscribe("/queue/a", ack="client-individual")
        body = b"x" * 100_000
        sender = connect()
        sender.put("/queue/a", *[body] * 120)
        assert len(broker.unacknowledged("/queue/a")) < 100
        quick = connect()
        quick.subscribe("/queue/a")
        rest = 120 - len(broker.unacknowledged("/queue/a"))
        assert quick.bodies(rest) == [body] * rest
        taken = len(broker.unacknowledged("/queue/a"))
        assert slow.bodies(taken) == [body] * taken

    def test_it_gets_the_rest_when_it_reads(self, connect, open_wire):
        slow = open_wire(receive_buffer=4096)
        slow.connect()
        slow.subscribe("/queue/a")
        connect().put("/queue/a", *[b"%06d" % number * 10_000 for number in range(100)])
        assert [body[:6] for body in slow.bodies(100)] == [b"%06d" % number for number in range(100)]

    def test_a_topic_keeps_a_limited_backlog_for_it_and_drops_the_oldest(self):
        with (
            Broker(max_topic_bytes=500_000, max_output_bytes=100_000) as broker,
            Wire(broker, receive_buffer=4096) as slow,
            Wire(broker) as sender,
        ):
            slow.connect()
            slow.subscribe("/topic/a", ack="client")
            sender.connect()
            sender.put("/topic/a", *[b"%06d" % number * 10_000 for number in range(300)])
            received = [int(slow.receive().body[:6])]
            while received[-1] != 299:
                received.append(int(slow.receive().body[:6]))
        assert received == sorted(received)
        assert len(received) < 300

    def test_a_sender_that_does_not_read_its_receipts_is_not_listened_to_and_loses_none(self):
        with Broker(max_output_bytes=10_000) as broker, Wire(broker, receive_buffer=2048) as wire:
            wire.connect()
            wire.sock.setblocking(False)
            frame = b"SEND\ndestination:/queue/a\nreceipt:" + b"r" * 5000 + b"\n\n\0"
            sent = 0
            more_was_read = True
            while more_was_read:
                seen = broker.received("SEND")
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sent += wire.sock.send(frame[sent % len(frame) :])
                more_was_read = broker.wait_until(lambda: broker.received("SEND") > seen, 0.2)  # noqa: B023
            wire.sock.settimeout(5)
            taken = broker.received("SEND")
            assert taken < 5000
            for _ in range(taken):
                assert wire.receive().command == "RECEIPT"
            wire.write(frame[sent % len(frame) :])
            assert wire.receive().command == "RECEIPT"


@pytest.fixture(scope="module")
def authority():
    return pytest.importorskip("trustme").CA()


class TestTLS:
    @pytest.fixture
    def broker(self, authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with Broker(ssl=context) as broker:
            yield broker

    @pytest.fixture
    def context(self, authority):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    def test_everything_goes_through_it(self, broker, open_wire, context):
        assert broker.url == f"stomp+ssl://127.0.0.1:{broker.port}"
        wire = open_wire(tls=context)
        wire.connect()
        body = bytes(range(256)) * 8192
        wire.put("/queue/a", body, body)
        wire.subscribe("/queue/a")
        assert wire.bodies(2) == [body, body]
        wire.do("DISCONNECT")
        assert wire.ends()

    def test_a_client_without_it_is_turned_away_and_disturbs_nobody(self, broker, open_wire, context):
        good = open_wire(tls=context)
        good.connect()
        plain = open_wire()
        plain.write(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        with pytest.raises((EOFError, ConnectionError)):
            raise EOFError(plain.read_to_end())
        assert broker.wait_until(lambda: broker.connections == 1)
        good.put("/queue/a", b"x")

    def test_a_client_that_never_shakes_hands_is_disconnected(self, broker, open_wire, clock):
        silent = open_wire()
        assert broker.wait_until(lambda: broker.connections == 1)
        clock.forward(broker, 10)
        assert broker.connections == 0
        assert silent.ends()
