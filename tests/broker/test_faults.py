"""Misbehaviour on request."""

from __future__ import annotations

import select
import time

import pytest

from stomp_web.protocol import Frame, FrameBuffer
from tests.broker.wire import Wire

SEND = Frame("SEND", {"destination": "/queue/a", "receipt": "r"}, b"x")


def is_reset(wire: Wire) -> bool:
    try:
        wire.read_to_end()
    except ConnectionResetError:
        return True
    return False


def waiting(wire: Wire) -> bytes:
    """What has arrived and is not read yet."""
    read = b""
    while select.select([wire.sock], [], [], 0)[0] and (data := wire.sock.recv(65_536)):
        read += data
    return read


class TestRefuse:
    def test_the_next_connection_is_closed_at_once(self, broker, open_wire):
        fault = broker.faults.refuse()
        assert open_wire().ends()
        assert open_wire().connect().command == "CONNECTED"
        assert fault.fired == 1

    def test_a_number_of_them_after_a_number(self, broker, open_wire):
        broker.faults.refuse(after=1, times=2)
        assert open_wire().connect().command == "CONNECTED"
        assert open_wire().ends()
        assert open_wire().ends()
        assert open_wire().connect().command == "CONNECTED"

    def test_all_until_it_is_cancelled(self, broker, open_wire):
        fault = broker.faults.refuse(times=None)
        for _ in range(5):
            assert open_wire().ends()
        fault.cancel()
        assert open_wire().connect().command == "CONNECTED"

    def test_with_a_reset(self, broker, open_wire):
        broker.faults.refuse(reset=True)
        try:
            wire = open_wire()
        except ConnectionResetError:
            return
        assert is_reset(wire)

    def test_the_system_refuses_while_the_broker_does_not_listen(self, broker, connect):
        present = connect()
        broker.faults.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            connect()
        present.put("/queue/a", b"x")
        broker.faults.listen_again()
        connect().put("/queue/a", b"y")


class TestDrop:
    @pytest.mark.parametrize("reset", [False, True])
    def test_the_connection_is_closed_on_a_frame_that_has_no_effect(self, broker, connect, reset):
        wire = connect()
        broker.faults.drop("SEND", after=2, reset=reset)
        wire.put("/queue/a", b"1", b"2")
        wire.send(SEND)
        if reset:
            assert is_reset(wire)
        else:
            assert wire.ends()
        assert len(broker.messages("/queue/a")) == 2
        assert broker.sessions == 0

    def test_answers_to_what_came_before_in_the_same_write_arrive(self, broker, connect):
        wire = connect()
        broker.faults.drop("SEND", after=2)
        wire.write(b"".join(b"SEND\ndestination:/queue/a\nreceipt:%d\n\nx\0" % number for number in range(4)))
        assert [wire.receive().headers["receipt-id"] for _ in range(2)] == ["0", "1"]
        assert wire.ends()
        assert len(broker.messages("/queue/a")) == 2

    def test_on_any_frame(self, broker, open_wire):
        broker.faults.drop()
        wire = open_wire()
        with pytest.raises(EOFError):
            wire.connect()

    @pytest.mark.parametrize("reset", [False, True])
    def test_before_the_receipt_the_frame_has_had_its_effect(self, broker, connect, reset):
        wire = connect()
        broker.faults.close_before_receipt(reset=reset)
        wire.send(SEND)
        if reset:
            assert is_reset(wire)
        else:
            assert wire.ends()
        assert len(broker.messages("/queue/a")) == 1

    @pytest.mark.parametrize("reset", [False, True])
    def test_all_present_connections_are_closed(self, broker, connect, reset):
        wires = [connect() for _ in range(3)]
        broker.faults.close_connections(reset=reset)
        assert broker.connections == 0
        for wire in wires:
            assert is_reset(wire) if reset else wire.ends()

    def test_connections_that_are_idle_are_closed(self, broker, connect, open_wire):
        wire = connect()
        broker.faults.close_idle(0.1)
        assert wire.ends()
        assert open_wire().ends()  # also one that comes later
        broker.faults.close_idle(None)
        connect().put("/queue/a", b"x")


class TestError:
    def test_a_frame_is_answered_by_an_error_and_has_no_effect(self, broker, connect):
        wire = connect()
        broker.faults.error("SEND", "No room", "the disk is full")
        wire.send(SEND)
        assert wire.receive() == Frame(
            "ERROR", {"message": "No room", "content-type": "text/plain", "receipt-id": "r"}, b"the disk is full"
        )
        assert wire.ends()
        assert broker.messages("/queue/a") == []

    def test_without_receipt_id_and_staying_open_as_rabbitmq(self, broker, connect):
        wire = connect()
        broker.faults.error("SEND", receipt_id=False, close=False)
        wire.send(SEND)
        assert "receipt-id" not in wire.receive().headers
        wire.put("/queue/a", b"y")
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"y"]

    def test_a_frame_can_have_its_effect_nevertheless(self, broker, connect):
        wire = connect()
        broker.faults.error("SEND", process=True)
        wire.send(SEND)
        assert wire.receive().command == "ERROR"
        assert len(broker.messages("/queue/a")) == 1

    def test_connect_can_be_refused(self, broker, open_wire):
        broker.faults.error("CONNECT", "Bad CONNECT", "Access refused for user 'guest'")
        wire = open_wire()
        assert wire.connect().headers["message"] == "Bad CONNECT"
        assert wire.ends()

    @pytest.mark.parametrize("close", [False, True])
    def test_it_can_come_unasked(self, broker, connect, close):
        wires = [connect(), connect()]
        broker.faults.error_unasked("Server cancelled subscription", close=close)
        for wire in wires:
            assert wire.receive().headers["message"] == "Server cancelled subscription"
            if close:
                assert wire.ends()
            else:
                wire.put("/queue/a", b"x")


class TestReceipts:
    def test_an_answer_is_delayed_and_others_are_not_held_up(self, broker, connect, clock):
        slow, quick = connect(), connect()
        broker.faults.delay(3600)
        slow.send(SEND)
        assert broker.wait_for("/queue/a", 1)
        quick.put("/queue/a", b"x")
        slow.send(Frame("SEND", {"destination": "/queue/a", "receipt": "second"}))
        assert broker.wait_for("/queue/a", 3)
        clock.forward(broker, 1800)
        assert not waiting(slow).strip(b"\n")
        clock.forward(broker, 1800)
        assert [slow.receive().headers["receipt-id"] for _ in range(2)] == ["r", "second"]

    def test_heart_beats_go_on_in_the_meantime(self, broker, connect):
        wire = connect(heart_beat="0,100")
        broker.faults.delay(3600)
        wire.send(SEND)
        assert broker.wait_for("/queue/a", 1)
        assert not waiting(wire).strip(b"\n")  # beats from before, and the line feed behind CONNECTED
        assert [wire.sock.recv(1) for _ in range(2)] == [b"\n", b"\n"]

    def test_a_receipt_comes_late_behind_the_next(self, broker, connect):
        wire = connect()
        broker.faults.late_receipt()
        wire.send(SEND)
        assert broker.wait_for("/queue/a", 1)
        wire.send(Frame("SEND", {"destination": "/queue/a", "receipt": "next"}))
        assert [wire.receive().headers["receipt-id"] for _ in range(2)] == ["next", "r"]

    def test_a_receipt_comes_more_than_once(self, broker, connect):
        wire = connect()
        broker.faults.duplicate_receipt(copies=3)
        wire.send(SEND)
        assert [wire.receive() for _ in range(3)] == [Frame("RECEIPT", {"receipt-id": "r"})] * 3
        assert len(broker.messages("/queue/a")) == 1

    def test_a_frame_takes_effect_and_is_never_answered(self, broker, connect):
        wire = connect()
        broker.faults.mute("SEND")
        wire.send(SEND)
        wire.put("/queue/a", b"y")
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"x", b"y"]

    def test_heart_beats_come_right_before_the_receipt(self, broker, connect):
        wire = connect()
        wire.nothing_waits()
        broker.faults.beats_before_answer(count=3)
        wire.bytes_read = b""
        wire.send(SEND)
        wire.receive()
        assert wire.bytes_read.lstrip(b"\n") == b"RECEIPT\nreceipt-id:r\n\n\0\n"
        assert wire.bytes_read.startswith(b"\n\n\n")

    def test_garbage_comes_in_its_place(self, broker, connect):
        wire = connect()
        wire.nothing_waits()
        broker.faults.garbage(b"\xde\xad\xbe\xef")
        wire.send(SEND)
        assert wire.sock.recv(100).lstrip(b"\n") == b"\xde\xad\xbe\xef"
        assert len(broker.messages("/queue/a")) == 1

    def test_any_bytes_can_be_sent_to_all(self, broker, connect):
        wire = connect()
        broker.faults.write(b"RECEIPT\nreceipt-id:unknown\n\n\0")
        assert wire.receive().headers["receipt-id"] == "unknown"


class TestMuteConnect:
    def test_connect_is_never_answered_and_no_beat_betrays_the_broker(self, broker, open_wire):
        broker.faults.mute()
        wire = open_wire()
        wire.write(b"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,100\n\n\0")
        assert broker.wait_until(lambda: broker.received("CONNECT") == 1)
        wire.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.sock.recv(1)
        assert broker.sessions == 0
        assert open_wire().connect().command == "CONNECTED"


class TestFreeze:
    def test_nobody_is_answered_until_the_thaw(self, broker, connect, open_wire):
        wire = connect(heart_beat="10000,100")
        broker.faults.freeze()
        wire.send(SEND)
        late = open_wire()
        late.write(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        late.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.sock.recv(1)
        assert broker.messages("/queue/a") == []
        broker.faults.thaw()
        assert late.receive().command == "CONNECTED"
        assert wire.receive().command == "RECEIPT"

    def test_one_connection_freezes_on_a_frame_that_takes_effect_after_the_thaw(self, broker, connect):
        wire, other = connect(), connect()
        broker.faults.freeze("SEND")
        wire.write(b"SEND\ndestination:/queue/a\nreceipt:1\n\nx\0SEND\ndestination:/queue/a\nreceipt:2\n\ny\0")
        assert broker.wait_until(lambda: broker.received("SEND") == 1)
        other.put("/queue/b", b"x")
        assert broker.messages("/queue/a") == []
        broker.faults.thaw()
        assert [wire.receive().headers["receipt-id"] for _ in range(2)] == ["1", "2"]

    def test_a_frozen_broker_can_be_stopped(self, broker, connect):
        wire = connect()
        broker.faults.freeze()
        broker.stop()
        assert wire.ends()


class TestDribble:
    def test_every_byte_is_sent_alone(self, broker, open_wire):
        broker.faults.dribble(interval=0.001)
        wire = open_wire()
        began = time.monotonic()
        wire.connect()
        wire.put("/queue/a", b"x")
        assert time.monotonic() - began > 0.001 * len(wire.bytes_read)

    def test_without_an_interval_too(self, broker, open_wire):
        broker.faults.dribble()
        wire = open_wire()
        wire.connect()
        wire.put("/queue/a", *[b"x"] * 20)


class TestOrder:
    def test_a_frame_meets_one_fault_the_one_that_was_ordered_first(self, broker, connect):
        wire = connect()
        first = broker.faults.error("SEND", "first", close=False)
        second = broker.faults.error("SEND", "second", close=False)
        wire.send(SEND)
        assert wire.receive().headers["message"] == "first"
        assert (first.fired, second.fired) == (1, 0)
        wire.send(SEND)
        assert wire.receive().headers["message"] == "second"
        wire.put("/queue/a", b"x")

    def test_clear_ends_them_all(self, broker, connect, open_wire):
        broker.faults.refuse(times=None)
        broker.faults.error(times=None)
        broker.faults.stop_listening()
        broker.faults.freeze()
        broker.faults.close_idle(0.05)
        broker.faults.clear()
        connect().put("/queue/a", b"x")

    def test_faults_can_be_ordered_before_the_start(self):
        from stomp_web.broker import Broker

        broker = Broker()
        broker.faults.error("CONNECT")
        broker.faults.clear()
        broker.faults.error("CONNECT", "ordered before")
        with broker, Wire(broker) as wire:
            assert wire.connect().headers["message"] == "ordered before"

    def test_what_a_connection_that_was_cut_had_sent_is_a_clean_stream(self, broker, connect):
        wire = connect()
        wire.subscribe("/queue/a")
        broker.faults.drop("BEGIN")
        other = connect()
        other.put("/queue/a", *[b"x" * 10_000] * 20)
        wire.send(Frame("BEGIN", {"transaction": "t"}))
        buffer = FrameBuffer()
        try:
            buffer.append(wire.read_to_end())
        except (TimeoutError, ConnectionError):
            pytest.fail("no clean end")
        assert {frame.command for frame in buffer} == {"MESSAGE"}
