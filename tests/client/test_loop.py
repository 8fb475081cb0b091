"""The loop of a QueueingDuplexClient: how it begins, receives, keeps heart-beats and ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest

from stomp_web import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConnectionLost,
    DeliveryUnknown,
    MessageError,
    NotSent,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.client.listening import Loop
from tests.client.scripted import PATIENCE, eventually


class TestWithALoop:
    def test_messages_come_onto_the_queue(self, duplex, loop):
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x")
        assert duplex.message_queue.get(timeout=PATIENCE).body == b"x"
        duplex.send("/queue/a", b"y")
        assert duplex.receive(PATIENCE).body == b"y"

    def test_it_connects_by_itself(self, duplex, loop, broker):
        assert duplex.connected
        assert duplex.connected_queue.get(timeout=PATIENCE).command == "CONNECTED"
        assert duplex.connect().command == "CONNECTED"
        assert broker.connections_accepted == 1

    def test_the_shutdown_event_ends_it_with_a_disconnect(self, duplex, loop, broker):
        duplex.shutdown_event.set()
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 1
        assert not duplex.listening_event.is_set()
        assert not duplex.connected

    def test_disconnect_from_another_thread_ends_it_with_one_disconnect(self, duplex, loop, broker):
        duplex.disconnect()
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 1

    def test_close_ends_it_without_one(self, duplex, loop, broker):
        duplex.close()
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 0

    def test_a_shutdown_while_it_connects_ends_it(self, broker):
        client = QueueingDuplexClient(*broker.address)
        broker.faults.freeze("CONNECT")
        thread = threading.Thread(target=client.listen_forever, daemon=True)
        thread.start()
        assert broker.wait_until(lambda: broker.received("CONNECT"))
        client.shutdown_event.set()
        broker.faults.thaw()
        thread.join(120)
        assert not thread.is_alive()
        client.close()

    def test_a_shutdown_before_it_begins_ends_it_without_a_connection(self, duplex, broker):
        duplex.shutdown_event.set()
        duplex.listen_forever()
        assert broker.connections_accepted == 0

    def test_it_can_be_run_again_after_connect(self, duplex, broker):
        first = Loop(duplex)
        duplex.disconnect()
        assert first.ended()
        duplex.connect()
        second = Loop(duplex)
        duplex.send("/queue/a", confirm=True)
        duplex.disconnect()
        assert second.ended()

    def test_it_does_not_connect_if_it_is_told_not_to(self, duplex, broker):
        with pytest.raises(NotSent, match="not connected"):
            duplex.listen_forever(connect=False)
        duplex.connect()
        broker.faults.close_connections()
        with pytest.raises(ConnectionLost):
            duplex.receive(timeout=PATIENCE)
        with pytest.raises(ConnectionLost):
            duplex.listen_forever(connect=False)
        assert broker.connections_accepted == 1

    def test_a_close_while_it_connects_ends_it(self, broker):
        client = QueueingDuplexClient(*broker.address)
        broker.faults.freeze("CONNECT")
        thread = threading.Thread(target=client.listen_forever, daemon=True)
        thread.start()
        assert broker.wait_until(lambda: broker.received("CONNECT"))
        client.close()
        broker.faults.thaw()
        thread.join(120)
        assert not thread.is_alive()
        assert not client.connected

    def test_what_was_made_for_one_session_is_not_written_in_another(self, duplex, broker):
        duplex.connect()
        old = duplex._session
        duplex.close()
        duplex.connect()
        with pytest.raises(NotSent, match="has ended"):
            duplex._write(Frame("ACK", {"id": "1"}), old)
        assert broker.received("ACK") == 0

    def test_after_a_disconnect_it_connects_anew(self, duplex, broker):
        first = Loop(duplex)
        duplex.disconnect()
        assert first.ended()
        second = Loop(duplex)
        assert duplex.connected
        assert not duplex.shutdown_event.is_set()
        duplex.close()
        assert second.ended()
        assert broker.connections_accepted == 2

    def test_a_loop_that_is_shut_down_writes_the_disconnect_of_another_thread(self, duplex, loop, broker, caplog):
        """The other thread is the first to disconnect, and only the loop's thread can write and read for it."""
        disconnect = duplex.disconnect

        def disconnect_as_the_second():
            assert eventually(lambda: duplex._received.parting)
            disconnect()

        duplex.disconnect = disconnect_as_the_second  # what the loop calls
        with caplog.at_level(logging.INFO, "stomp_web.client"):
            duplex.shutdown_event.set()
            disconnect()
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 1
        assert "was not answered" not in caplog.text

    def test_what_the_user_has_set_is_not_taken_back_by_a_disconnect(self, duplex, broker):
        first = Loop(duplex)
        duplex.shutdown_event.set()
        duplex.disconnect()
        assert first.ended()
        duplex.listen_forever()
        assert broker.connections_accepted == 1

    def test_two_threads_that_disconnect_say_it_once(self, duplex, loop, broker):
        threads = [threading.Thread(target=duplex.disconnect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 1

    def test_only_one_thread_may_run_it(self, duplex, loop):
        with pytest.raises(StompError, match="running"):
            duplex.listen_forever()

    def test_it_raises_that_no_broker_is_there(self, broker):
        broker.faults.refuse()
        with pytest.raises(BrokerUnavailable):
            QueueingDuplexClient(*broker.address).listen_forever()
        with Broker(login="a", passcode="b") as strict, pytest.raises(AuthenticationFailed):
            QueueingDuplexClient(*strict.address).listen_forever()

    def test_eight_threads_may_send_confirmed_at_once(self, duplex, loop, broker):
        together = threading.Barrier(8)
        failures = []

        def work(number):
            together.wait(PATIENCE)
            try:
                for turn in range(25):
                    duplex.send("/queue/a", f"{number}.{turn}", confirm=True)
            except StompError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert failures == []
        assert len({frame.body for frame in broker.messages("/queue/a")}) == 200

    def test_a_send_wakes_a_loop_that_has_just_begun(self, broker):
        """The first send of many a client comes while its loop goes to sleep for the first time."""
        for _ in range(30):
            client = QueueingDuplexClient(*broker.address, timeout=PATIENCE)
            client.connect()
            running = Loop(client)
            client.send("/queue/a", confirm=True)
            client.close()
            assert running.ended()

    def test_big_messages_go_both_ways_at_once(self, duplex, loop):
        duplex.subscribe("/queue/a")
        body = bytes(2_000_000)
        for _ in range(8):
            duplex.send("/queue/a", body)
        assert [len(duplex.message_queue.get(timeout=PATIENCE).body) for _ in range(8)] == [2_000_000] * 8

    def test_no_thread_is_started_but_the_user_s(self, duplex, broker):
        before = threading.active_count()
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", confirm=True)
        assert threading.active_count() == before


class TestInTheMainThread:
    """A program that only receives needs no thread at all."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("interrupts", [True, False])
    def test_a_signal_handler_shuts_it_down_cleanly(self, duplex, broker, number, interrupts):
        """A signal interrupts the wait, unless it comes just before it, or to another thread, as half of these do."""
        before = signal.signal(number, lambda *_: duplex.shutdown_event.set())

        def kill():
            # Nothing arrives from the broker that would wake the loop by the way.
            assert duplex.listening_event.wait(PATIENCE)
            if interrupts:
                os.kill(os.getpid(), number)
            else:
                signal.pthread_kill(threading.get_ident(), number)

        killer = threading.Thread(target=kill)
        try:
            killer.start()
            duplex.listen_forever()
        finally:
            signal.signal(number, before)
            killer.join(120)
        assert broker.received("DISCONNECT") == 1

    def test_ctrl_c_raises_and_the_client_can_be_closed(self, duplex, broker):
        def kill():
            assert duplex.listening_event.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            duplex.listen_forever()
        killer.join(120)
        assert not duplex.listening_event.is_set()
        duplex.disconnect()
        assert broker.received("DISCONNECT") == 1


class TestEnds:
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_lost_connection_wakes_all_waiting_threads_with_the_reason(self, duplex, loop, broker, reset):
        broker.faults.mute("SEND", times=None)
        outcomes = []

        def run(work):
            try:
                work()
            except StompError as error:
                outcomes.append(error)

        works = [
            lambda: duplex.send("/queue/a", confirm=True),
            lambda: duplex.send("/queue/a", confirm=True),
            lambda: duplex.message_queue.get(timeout=PATIENCE),
            lambda: duplex.error_queue.get(timeout=PATIENCE),
            lambda: duplex.receive(PATIENCE),
        ]
        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        assert broker.wait_until(lambda: broker.received("SEND") == 2)
        broker.faults.close_connections(reset=reset)
        for thread in threads:
            thread.join(120)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 5
        assert loop.ended()
        assert isinstance(loop.error, ConnectionLost)
        assert not duplex.connected
        with pytest.raises(NotSent, match="not connected"):
            duplex.send("/queue/a")

    def test_an_error_ends_the_loop_and_is_the_sender_s_rejection(self, duplex, loop, broker):
        broker.faults.error("SEND", "No")
        with pytest.raises(Rejected, match="No") as failure:
            duplex.send("/queue/a", confirm=True)
        assert failure.value.frame.command == "ERROR"
        assert loop.ended()
        assert isinstance(loop.error, Rejected)
        assert duplex.error_queue.get_nowait().headers["message"] == "No"

    def test_a_refused_subscription_is_a_rejection(self, duplex, broker):
        duplex.connect()
        broker.faults.error("SUBSCRIBE", "Access denied")
        with pytest.raises(Rejected, match="denied"):
            duplex.subscribe("/queue/private")

    def test_an_error_that_may_be_about_an_unconfirmed_message_leaves_the_confirmed_one_unknown(self, scripted):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.expect("SEND")
            peer.error("Unknown destination")
            peer.wait_for_end()

        client = scripted(script)
        client.connect()
        client.send("/bad", b"unconfirmed")
        with pytest.raises(DeliveryUnknown, match="Unknown destination"):
            client.send("/queue/a", confirm=True)

    def test_an_error_without_receipt_id_leaves_the_messages_of_several_waiting_calls_unknown(
        self, duplex, loop, broker
    ):
        broker.faults.mute("SEND")
        broker.faults.error("SEND", "No", after=0, receipt_id=False)
        outcomes = []

        def work():
            try:
                duplex.send("/queue/a", confirm=True)
            except StompError as error:
                outcomes.append(error)

        first = threading.Thread(target=work)
        first.start()
        assert broker.wait_until(lambda: broker.received("SEND") == 1)
        work()
        first.join(120)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 2

    def test_garbage_ends_it(self, duplex, loop, broker):
        broker.faults.write(b"garbage\n")
        assert loop.ended()
        assert isinstance(loop.error, ConnectionLost)
        assert "not STOMP" in str(loop.error)

    def test_an_unconfirmed_send_over_a_lost_connection_is_not_silent(self, duplex, broker):
        duplex.connect()
        session = duplex._session
        broker.faults.close_connections(reset=True)
        assert session.transport.wait(PATIENCE, read=True)
        with pytest.raises(MessageError):
            duplex.send("/queue/a", b"lost")
        assert not duplex.connected

    def test_an_unconfirmed_send_to_a_broker_that_does_not_read_is_not_silent(self, duplex, broker):
        duplex.connect()
        broker.faults.freeze()
        body = bytes(1_000_000)
        began = time.monotonic()
        with pytest.raises(DeliveryUnknown):  # noqa: PT012
            for _ in range(30):
                duplex.send("/queue/a", body, timeout=0.05)
        assert time.monotonic() - began < 30
        broker.faults.thaw()

    def test_the_same_while_the_loop_runs(self, duplex, loop, broker):
        broker.faults.freeze()
        body = bytes(1_000_000)
        with pytest.raises(DeliveryUnknown):  # noqa: PT012
            for _ in range(30):
                duplex.send("/queue/a", body, timeout=0.05)
        broker.faults.thaw()

    def test_a_receipt_that_does_not_come_is_a_timeout_and_the_session_goes_on(self, duplex, loop, broker):
        broker.faults.mute("SEND")
        with pytest.raises(ReceiptTimeout, match=r"\b1\.25 s"):
            duplex.send("/queue/a", confirm=True, timeout=1.25)
        duplex.send("/queue/a", confirm=True)
        assert broker.connections_accepted == 1

    def test_frames_that_came_before_the_end_can_still_be_taken(self, duplex, loop, broker):
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x", confirm=True)
        assert eventually(lambda: duplex.message_queue.qsize() == 1)
        broker.faults.close_connections()
        assert loop.ended()
        assert duplex.receive(1).body == b"x"
        with pytest.raises(ConnectionLost):
            duplex.receive(1)


class TestHeartBeats:
    def test_both_sides_beat(self):
        with Broker(heart_beat=(1000, 1000)) as broker:
            client = QueueingDuplexClient(*broker.address, heart_beat=(1000, 1000))
            running = Loop(client)
            assert client.connect().headers["heart-beat"] == "1000,1000"
            running.thread.join(4.5)  # each disconnects the other if it is silent for twice its time
            assert running.thread.is_alive()
            assert broker.sessions == 1
            client.close()
            assert running.ended()

    def test_a_broker_that_falls_silent_ends_the_loop(self, broker):
        client = QueueingDuplexClient(*broker.address, heart_beat=(0, 100))
        running = Loop(client)
        broker.faults.freeze()
        assert running.ended()
        assert isinstance(running.error, ConnectionLost)
        assert "heart-beat" in str(running.error)
        broker.faults.thaw()

    def test_a_broker_that_wants_none_gets_none(self, scripted):
        seen = []

        def script(peer):
            peer.accept(heart_beat="0,0")
            frame = peer.expect("SEND")
            seen.append(peer.received.count(b"\n\n\n"))
            peer.receipt(frame)
            peer.wait_for_end()

        client = scripted(script, heart_beat=(1, 0))
        running = Loop(client)
        running.thread.join(0.05)
        client.send("/queue/a", confirm=True)
        assert seen == [0]
        client.close()
        assert running.ended()
