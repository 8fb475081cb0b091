"""A confirmed send: it succeeds only with its own receipt, and every failure says what is true of the message."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    DeliveryUnknown,
    NotSent,
    ProtocolError,
    PublishClient,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame, encode
from tests.client.scripted import PATIENCE, eventually

MESSAGE_ID = {"x-message-id": "id-1"}


class TestReceipts:
    def test_it_returns_once_the_broker_has_the_message(self, client, broker):
        assert client.send("/queue/a", b"x", confirm=True) is None
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"x"]

    def test_every_receipt_is_asked_for_under_an_id_of_its_own(self, open_client):
        ids = []

        def script(peer):
            peer.accept()
            while True:
                frame = peer.expect("SEND")
                ids.append(frame.headers["receipt"])
                peer.receipt(frame)

        client = open_client(script, confirm=True)
        for _ in range(3):
            client.send("/queue/a")
        assert len(set(ids)) == 3

    def test_an_unconfirmed_send_asks_for_none(self, open_client):
        headers = []

        def script(peer):
            peer.accept()
            headers.append(peer.expect("SEND").headers)
            peer.serve()

        client = open_client(script)
        client.send("/queue/a")
        client.disconnect()
        assert headers == [{"destination": "/queue/a", "content-length": "0"}]

    def test_the_call_s_confirm_wins_over_the_client_s(self, broker):
        broker.faults.mute("SEND", times=None)
        with PublishClient(*broker.address, confirm=True) as client:
            client.send("/queue/a", confirm=False)
            with pytest.raises(ReceiptTimeout):
                client.send("/queue/a", timeout=1)
        broker.faults.clear()
        with PublishClient(*broker.address, confirm=False) as client:
            client.send("/queue/a", confirm=True)

    @pytest.mark.parametrize("beats", [1, 2, 100_000])
    def test_heart_beats_before_the_receipt_are_passed_over(self, client, broker, beats):
        broker.faults.beats_before_answer("SEND", count=beats)
        client.send("/queue/a", confirm=True)

    def test_a_receipt_may_come_byte_by_byte(self, client, broker):
        broker.faults.dribble()
        client.send("/queue/a", confirm=True)

    def test_a_receipt_that_comes_twice_counts_once(self, client, broker):
        broker.faults.duplicate_receipt("SEND")
        client.send("/queue/a", confirm=True)
        broker.faults.close_before_receipt("SEND")
        with pytest.raises(ConnectionLost):
            client.send("/queue/a", confirm=True)

    def test_the_receipt_of_another_frame_is_not_taken_for_its_own(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            for other in ("0", "2", "", "1 ", "message-1"):
                peer.send(Frame("RECEIPT", {"receipt-id": other}))
            peer.send(Frame("RECEIPT"))

        with pytest.raises(ConnectionLost):
            open_client(script).send("/queue/a", confirm=True)

    def test_a_late_receipt_is_not_taken_for_the_next_message_s(self, serve):
        late = threading.Event()

        def first(peer):
            peer.accept()
            frame = peer.expect("SEND")
            late.wait(PATIENCE)
            peer.receipt(frame)

        def second(peer):
            peer.accept()
            late.set()
            assert peer.expect("SEND").body == b"second"

        client = PublishClient("127.0.0.1", serve(first, second).port, confirm=True, timeout=PATIENCE)
        client.connect()
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"first", timeout=1)
        with pytest.raises(ConnectionLost):
            client.send("/queue/a", b"second")

    def test_frames_that_nobody_asked_for_are_passed_over(self, open_client):
        def script(peer):
            peer.accept()
            frame = peer.expect("SEND")
            peer.send(Frame("MESSAGE", {"destination": "/queue/b", "message-id": "1", "subscription": "s"}, b"?"))
            peer.receipt(frame)

        open_client(script).send("/queue/a", confirm=True)


class TestNo:
    def test_an_error_is_a_rejection_in_the_broker_s_words(self):
        with Broker(denied=("/queue/private",)) as broker, PublishClient(*broker.address) as client:
            with pytest.raises(Rejected, match="Access to '/queue/private' denied") as failure:
                client.send("/queue/private", b"s3cret body", MESSAGE_ID, confirm=True)
            error = failure.value
            assert error.frame.command == "ERROR"
            assert error.message == "Access denied"
            assert (error.destination, error.message_id) == ("/queue/private", "id-1")
            assert error.broker == f"stomp://127.0.0.1:{broker.port}"
            assert "s3cret" not in str(error) + repr(error)
            assert str(error).startswith("/queue/private: ")

    @pytest.mark.parametrize("receipt_id", [True, False])
    @pytest.mark.parametrize("close", [True, False])
    def test_it_is_one_with_and_without_a_receipt_id_and_an_end_of_the_connection(
        self, client, broker, receipt_id, close
    ):
        broker.faults.error("SEND", "No", receipt_id=receipt_id, close=close)
        began = time.monotonic()
        with pytest.raises(Rejected, match="No: this error was ordered"):
            client.send("/queue/a", confirm=True)
        assert time.monotonic() - began < 30
        client.send("/queue/a", b"next", confirm=True)
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"next"]

    def test_only_the_first_line_of_a_stack_trace_is_told(self, client, broker):
        broker.faults.error("SEND", "Not allowed", "org.apache.ProtocolException: Not allowed\n\tat java.lang.Thread\n")
        with pytest.raises(Rejected) as failure:
            client.send("/queue/a", confirm=True)
        assert str(failure.value).startswith(
            f"/queue/a: stomp://127.0.0.1:{broker.port} rejected it: Not allowed. The broker did"
        )
        assert "java" not in str(failure.value)
        assert b"java.lang" in failure.value.frame.body

    def test_an_error_without_a_word_says_so(self, open_client):
        client = open_client(lambda peer: (peer.accept(), peer.expect("SEND"), peer.write(b"ERROR\n\n\0")))
        with pytest.raises(Rejected, match="gave no reason") as failure:
            client.send("/queue/a", confirm=True)
        assert failure.value.message == ""

    def test_an_error_that_is_not_utf_8_is_told_all_the_same(self, open_client):
        client = open_client(lambda peer: (peer.accept(), peer.expect("SEND"), peer.write(b"ERROR\n\n\xff no\0")))
        with pytest.raises(Rejected, match="no"):
            client.send("/queue/a", confirm=True)

    def test_an_error_that_may_be_about_an_earlier_unconfirmed_message_leaves_this_one_unknown(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.expect("SEND")
            peer.error("Unknown destination")
            peer.wait_for_end()

        client = open_client(script)
        client.send("/bad", b"unconfirmed")
        with pytest.raises(DeliveryUnknown, match="Unknown destination") as failure:
            client.send("/queue/a", b"", MESSAGE_ID, confirm=True)
        assert isinstance(failure.value.__cause__, Rejected)
        assert failure.value.message_id == "id-1"

    def test_an_error_that_names_this_message_is_its_rejection_though_others_were_unconfirmed(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.error("No", frame=peer.expect("SEND"))

        client = open_client(script)
        client.send("/queue/a", b"unconfirmed")
        with pytest.raises(Rejected, match="No"):
            client.send("/queue/a", confirm=True)

    def test_an_error_that_names_another_receipt_leaves_this_message_unknown(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.send(Frame("ERROR", {"receipt-id": "other"}))

        with pytest.raises(DeliveryUnknown):
            open_client(script).send("/queue/a", confirm=True)

    def test_an_error_for_an_earlier_unconfirmed_message_is_logged_and_the_next_message_goes_elsewhere(
        self, broker, client, caplog
    ):
        broker.faults.error("SEND", "No", close=False)
        client.send("/queue/a", b"refused")
        with caplog.at_level(logging.WARNING, "stomp_web.client"):
            assert eventually(lambda: not client.connected)
        assert "answered ERROR to an earlier unconfirmed message: No" in caplog.text
        client.send("/queue/a", b"next", confirm=True)
        assert broker.connections_accepted == 2

    def test_what_the_broker_said_while_it_stopped_reading_is_told(self, open_client):
        def script(peer):
            peer.accept()
            peer.sock.recv(1000)
            peer.error("The maximum frame size was exceeded")
            peer.reset()

        client = open_client(script)
        with pytest.raises(Rejected, match="maximum frame size"):
            client.send("/queue/a", bytes(20_000_000), confirm=True)


class TestUnknown:
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_connection_that_ends_before_the_receipt_is_lost_at_once(self, client, broker, reset):
        broker.faults.close_before_receipt("SEND", reset=reset)
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="not known") as failure:
            client.send("/queue/a", b"", MESSAGE_ID, confirm=True)
        assert time.monotonic() - began < 30
        assert "given" not in str(failure.value)  # it was no matter of time
        error = failure.value
        assert (error.destination, error.message_id, error.confirmed) == ("/queue/a", "id-1", ())
        assert error.broker == f"stomp://127.0.0.1:{broker.port}"
        assert not client.connected

    def test_a_broker_that_never_answers_costs_only_the_time_that_was_given(self, client, broker):
        client.connect()
        broker.faults.mute("SEND")
        began = time.monotonic()
        with pytest.raises(ReceiptTimeout, match=r"\b1\.25 s") as failure:
            client.send("/queue/a", b"", MESSAGE_ID, confirm=True, timeout=1.25)
        assert time.monotonic() - began < 30
        assert (failure.value.destination, failure.value.message_id) == ("/queue/a", "id-1")
        assert not client.connected

    def test_heart_beats_do_not_prolong_the_wait(self, open_client):
        gone = threading.Event()

        def script(peer):
            peer.accept()
            while not gone.wait(0.005):
                peer.write(b"\n")

        client = open_client(script)
        client.connect()
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", confirm=True, timeout=1)
        gone.set()

    def test_an_answer_that_is_no_stomp_is_lost_with_the_reason(self, client, broker):
        broker.faults.garbage()
        with pytest.raises(ConnectionLost, match="not a STOMP frame") as failure:
            client.send("/queue/a", confirm=True)
        assert isinstance(failure.value.__cause__, ProtocolError)

    def test_a_flood_instead_of_an_answer_does_not_fill_the_memory(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.write(b"ERROR\n\n" + b"x" * 3_000_000)
            peer.wait_for_end()

        with pytest.raises(ConnectionLost, match="exceeds the limit"):
            open_client(script).send("/queue/a", confirm=True)

    def test_a_broker_that_stops_reading_costs_only_the_time_that_was_given(self, client, broker):
        client.connect()
        broker.faults.freeze()
        body = bytes(1_048_576)
        with pytest.raises(NotSent, match="bytes") as failure:  # noqa: PT012
            for _ in range(100):
                began = time.monotonic()
                client.send("/queue/a", body, MESSAGE_ID, timeout=1)
        assert time.monotonic() - began < 30
        assert failure.value.message_id == "id-1"
        assert not client.connected
        broker.faults.thaw()

    def test_what_the_system_took_no_byte_of_was_not_sent(self, serve):
        over = threading.Event()
        server = serve(lambda peer: (peer.accept(), over.wait(PATIENCE)), receive_buffer=4096)
        client = PublishClient("127.0.0.1", server.port)
        client.connect()
        session = client.state.session

        def takes_bytes():
            return session.write_some(bytes(65_536)) or session.write_some(b"\0")

        while takes_bytes() or session.transport.wait(0.5, write=True) or takes_bytes():
            pass  # until the buffers of both sides are full
        with pytest.raises(BrokerUnavailable, match="took no byte"):
            client.send("/queue/a", b"x", timeout=1)
        assert not client.connected
        over.set()

    def test_a_timeout_is_not_the_end_of_the_client(self, client, broker):
        client.connect()
        broker.faults.mute("SEND")
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"first", confirm=True, timeout=1)
        client.send("/queue/a", b"second", confirm=True)
        assert broker.connections_accepted == 2

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_an_interruption_while_waiting_leaves_no_half_conversation(self, client, broker, monkeypatch, interruption):
        client.connect()
        broker.faults.mute("SEND")

        def interrupt(*args, **kwargs):
            raise interruption

        with monkeypatch.context() as patch:
            patch.setattr(client.state.session, "_receive", interrupt)
            with pytest.raises(interruption):
                client.send("/queue/a", b"first", confirm=True)
        assert not client.connected
        client.send("/queue/a", b"second", confirm=True)
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"first", b"second"]


class TestIdleConnections:
    @pytest.mark.parametrize("confirm", [False, True])
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_connection_that_the_broker_closed_is_replaced_before_the_send(self, client, broker, confirm, reset):
        client.connect()
        broker.faults.close_connections(reset=reset)
        assert eventually(lambda: not client.connected)
        for number in range(3):
            client.send("/queue/a", str(number), confirm=confirm)
        client.disconnect()
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"0", b"1", b"2"]
        assert broker.connections_accepted == 2

    def test_connected_looks_at_the_socket(self, client, broker):
        client.connect()
        assert client.connected
        broker.faults.close_connections()
        assert eventually(lambda: not client.connected)
        assert client.session is None

    def test_heart_beats_mean_that_it_lives(self, client, broker):
        client.connect()
        broker.faults.write(b"\n\r\n\n")
        assert client.connected
        client.send("/queue/a", confirm=True)
        assert broker.connections_accepted == 1

    def test_garbage_means_that_it_is_dead(self, client, broker):
        client.connect()
        broker.faults.write(b"garbage\n")
        assert eventually(lambda: not client.connected)
        client.send("/queue/a", confirm=True)

    def test_wanted_heart_beats_are_asked_for_and_passed_over(self, broker):
        with PublishClient(*broker.address, heart_beat=(0, 100), confirm=True) as client:
            assert client.connect().headers["heart-beat"] == "100,0"
            assert broker.connects[-1].headers["heart-beat"] == "0,100"
            session = client.state.session
            assert eventually(lambda: client.connected and session.bytes_received > 3 + len(_bytes_of(client)))
            client.send("/queue/a")
            assert broker.connections_accepted == 1

    def test_an_error_of_the_broker_s_own_ends_it(self, client, broker):
        client.connect()
        broker.faults.error_unasked("Server cancelled subscription", close=False)
        assert eventually(lambda: not client.connected)
        client.send("/queue/a", confirm=True)


def _bytes_of(client: PublishClient) -> bytes:
    return encode(client.connect())


class TestThreads:
    def test_a_second_thread_is_refused_while_a_call_is_under_way(self, broker, client):
        client.connect()
        broker.faults.mute("SEND")
        outcome = []

        def first():
            try:
                client.send("/queue/a", confirm=True)
            except StompError as error:
                outcome.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        assert broker.wait_until(lambda: broker.received("SEND"))
        with pytest.raises(StompError, match=r"one thread at a time.*PublishClientPool"):
            client.send("/queue/a")
        broker.faults.close_connections()
        thread.join(120)
        assert isinstance(outcome[0], ConnectionLost)

    def test_threads_may_take_turns(self, broker, client):
        for number in range(3):
            thread = threading.Thread(target=client.send, args=("/queue/a", str(number)), kwargs={"confirm": True})
            thread.start()
            thread.join(120)
        assert len(broker.messages("/queue/a")) == 3
        assert broker.connections_accepted == 1

    def test_closing_from_another_thread_ends_the_wait_at_its_deadline_at_the_latest(self, broker, client):
        client.connect()
        broker.faults.mute("SEND")
        outcome = []

        def first():
            try:
                client.send("/queue/a", confirm=True, timeout=1)
            except StompError as error:
                outcome.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        assert broker.wait_until(lambda: broker.received("SEND"))
        client.close()
        thread.join(120)
        assert isinstance(outcome[0], DeliveryUnknown)
