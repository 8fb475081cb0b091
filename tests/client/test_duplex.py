"""QueueingDuplexClient: frames come onto queues, whoever runs the loop; everything else works beside it."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
import time

import pytest

from stomp_web import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    ConnectionLost,
    DeliveryUnknown,
    InvalidFrame,
    Message,
    MessageError,
    NotSent,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.client.scripted import eventually


class Loop:
    """`listen_forever` in a thread, and what it raised."""

    def __init__(self, client: QueueingDuplexClient) -> None:
        self.client = client
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert client.listening_event.wait(5) or self.ended()

    def run(self) -> None:
        try:
            self.client.listen_forever()
        except StompError as error:
            self.error = error

    def ended(self) -> bool:
        self.thread.join(30)
        return not self.thread.is_alive()


@pytest.fixture
def duplex(broker):
    client = QueueingDuplexClient(*broker.address, timeout=3)
    yield client
    client.close()


@pytest.fixture
def loop(duplex):
    """The running loop of `duplex`."""
    running = Loop(duplex)
    yield running
    duplex.close()
    assert running.ended()


@pytest.fixture
def scripted(serve):
    """A client of a scripted server."""
    clients = []

    def start(*scripts, **options):
        clients.append(QueueingDuplexClient("127.0.0.1", serve(*scripts).port, **{"timeout": 3, **options}))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


class TestWithoutALoop:
    def test_receive_reads_by_itself(self, duplex):
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x", {"n": "1"}, confirm=True)
        frame = duplex.receive()
        assert (frame.command, frame.body, frame.headers["n"]) == ("MESSAGE", b"x", "1")

    def test_receive_returns_none_when_nothing_came(self, duplex):
        duplex.connect()
        assert duplex.receive(0.01) is None

    def test_frames_go_to_the_queues_of_their_kinds(self, duplex, broker):
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x", confirm=True)
        duplex.receive()
        assert duplex.connected_queue.get_nowait().command == "CONNECTED"
        assert duplex.receipt_queue.qsize() == 2
        broker.faults.error_unasked("No")
        with pytest.raises(Rejected, match="No"):
            duplex.receive()
        assert duplex.error_queue.get_nowait().headers["message"] == "No"

    def test_a_selector_of_one_s_own_can_drive_it(self, duplex, broker):
        with pytest.raises(NotSent):
            duplex.fileno()
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x")
        while duplex.message_queue.empty():
            assert select.select([duplex], [], [], 5)[0]
            duplex.process()
        assert duplex.message_queue.get_nowait().body == b"x"

    def test_process_takes_all_that_has_come_and_says_when_to_call_it_again(self):
        with (
            Broker(heart_beat=(10_000, 10_000)) as broker,
            QueueingDuplexClient(*broker.address, heart_beat=(5_000, 0), queue_size=5000) as client,
            QueueingDuplexClient(*broker.address) as other,
        ):
            client.subscribe("/queue/a")
            other.send_many([Message("/queue/a", b"x") for _ in range(2500)], confirm=True)
            again = None
            while client.message_queue.qsize() < 2500:
                assert select.select([client], [], [], 5)[0]
                again = client.process()
            assert again is not None
            assert 0 < again <= 5  # half of what was agreed, as a beat must not be late
            assert not client.writing

    def test_process_goes_on_with_what_waits_inside_once_there_is_room(self, broker):
        with QueueingDuplexClient(*broker.address, queue_size=2) as client:
            client.subscribe("/queue/a")
            for number in range(6):
                client.send("/queue/a", str(number))
            got = []
            while len(got) < 6:
                client.process()
                while not client.message_queue.empty():
                    got.append(int(client.message_queue.get_nowait().body))
            assert got == list(range(6))

    def test_connected_looks_at_the_socket(self, duplex, broker):
        duplex.connect()
        duplex.send("/queue/a", confirm=True)
        assert duplex.connected
        broker.faults.close_connections()
        assert eventually(lambda: not duplex.connected)

    def test_it_is_connected_until_what_came_before_the_end_was_taken(self, scripted):
        def script(peer):
            peer.accept()
            peer.send(Frame("MESSAGE", {"destination": "/a", "message-id": "1", "subscription": "1"}, b"last"))

        client = scripted(script)
        client.connect()
        assert eventually(lambda: client._session._peeked or not client.connected)
        assert client.connected
        assert client.receive().body == b"last"
        assert not client.connected

    def test_many_messages_come_in_order(self, duplex):
        duplex.connect()
        duplex.subscribe("/queue/a")
        for number in range(300):
            duplex.send("/queue/a", str(number))
        assert [duplex.receive().body for _ in range(300)] == [b"%d" % number for number in range(300)]

    def test_the_context_manager_connects_and_disconnects(self, broker):
        with QueueingDuplexClient(*broker.address) as client:
            assert client.connected
            assert client.version == "1.2"
        assert not client.connected
        assert broker.received("DISCONNECT") == 1


class TestWithALoop:
    def test_messages_come_onto_the_queue(self, duplex, loop):
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", b"x")
        assert duplex.message_queue.get(timeout=5).body == b"x"
        duplex.send("/queue/a", b"y")
        assert duplex.receive(5).body == b"y"

    def test_it_connects_by_itself(self, duplex, loop, broker):
        assert duplex.connected
        assert duplex.connected_queue.get(timeout=5).command == "CONNECTED"
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
        thread.join(30)
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
            duplex.receive(timeout=5)
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
        thread.join(30)
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
            thread.join(30)
        assert loop.ended()
        assert loop.error is None
        assert broker.received("DISCONNECT") == 1

    def test_only_one_thread_may_run_it(self, duplex, loop):
        with pytest.raises(StompError, match="running"):
            duplex.listen_forever()

    def test_nobody_there_is_what_it_raises(self, broker):
        broker.faults.refuse()
        with pytest.raises(BrokerUnavailable):
            QueueingDuplexClient(*broker.address).listen_forever()
        with Broker(login="a", passcode="b") as strict, pytest.raises(AuthenticationFailed):
            QueueingDuplexClient(*strict.address).listen_forever()

    def test_eight_threads_may_send_confirmed_at_once(self, duplex, loop, broker):
        together = threading.Barrier(8)
        failures = []

        def work(number):
            together.wait(5)
            try:
                for turn in range(25):
                    duplex.send("/queue/a", f"{number}.{turn}", confirm=True)
            except StompError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert len({frame.body for frame in broker.messages("/queue/a")}) == 200

    def test_a_send_wakes_a_loop_that_has_just_begun(self, broker):
        """The first send of many a client comes while its loop goes to sleep for the first time."""
        for _ in range(30):
            client = QueueingDuplexClient(*broker.address, timeout=2)
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
        assert [len(duplex.message_queue.get(timeout=5).body) for _ in range(8)] == [2_000_000] * 8

    def test_no_thread_is_started_but_the_user_s(self, duplex, broker):
        before = threading.active_count()
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", confirm=True)
        assert threading.active_count() == before


class TestManyThreadsWithoutALoop:
    def test_what_is_sent_leaves_though_another_thread_looks_whether_it_is_connected(self, duplex, broker):
        duplex.connect()
        over = threading.Event()

        def look():
            while not over.is_set():
                assert duplex.connected

        thread = threading.Thread(target=look)
        thread.start()
        for number in range(20):
            duplex.send("/queue/a", str(number))
        assert broker.wait_for("/queue/a", 20)
        over.set()
        thread.join(30)

    def test_who_receives_beside_another_gets_none_when_the_time_is_over(self, duplex):
        duplex.connect()
        got = []
        threads = [threading.Thread(target=lambda: got.append(duplex.receive(timeout=0.1))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert got == [None] * 3


class TestInTheMainThread:
    """A program that only receives needs no thread at all."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("interrupts", [True, False])
    def test_a_signal_handler_ends_it_in_order(self, duplex, broker, number, interrupts):
        """A signal interrupts the wait, unless it comes just before it, or to another thread, as half of these do."""
        before = signal.signal(number, lambda *_: duplex.shutdown_event.set())

        def kill():
            # Nothing arrives from the broker that would wake the loop by the way.
            assert duplex.listening_event.wait(5)
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
            killer.join(30)
        assert broker.received("DISCONNECT") == 1

    def test_ctrl_c_raises_and_the_client_can_be_closed(self, duplex, broker):
        killer = threading.Thread(target=lambda: duplex.listening_event.wait(5) and os.kill(os.getpid(), signal.SIGINT))
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            duplex.listen_forever()
        killer.join(30)
        assert not duplex.listening_event.is_set()
        duplex.disconnect()
        assert broker.received("DISCONNECT") == 1


class TestEnds:
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_lost_connection_wakes_everybody_with_the_reason(self, duplex, loop, broker, reset):
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
            lambda: duplex.message_queue.get(timeout=5),
            lambda: duplex.error_queue.get(timeout=5),
            lambda: duplex.receive(5),
        ]
        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        assert broker.wait_until(lambda: broker.received("SEND") == 2)
        broker.faults.close_connections(reset=reset)
        for thread in threads:
            thread.join(30)
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

    def test_an_error_without_receipt_id_and_several_who_wait_leaves_all_unknown(self, duplex, loop, broker):
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
        first.join(30)
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
        assert session.wait(5)
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
        with pytest.raises(ReceiptTimeout, match=r"0\.05 s"):
            duplex.send("/queue/a", confirm=True, timeout=0.05)
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


class TestSubscriptions:
    def test_ids_are_given_or_made_and_returned(self, duplex):
        duplex.connect()
        assert duplex.subscribe("/queue/a", id="mine") == "mine"
        first, second = duplex.subscribe("/queue/b"), duplex.subscribe("/queue/c")
        assert first != second

    def test_an_id_that_is_made_is_none_that_was_given(self, duplex):
        duplex.connect()
        duplex.subscribe("/queue/a", id="1")
        assert duplex.subscribe("/queue/b") != "1"

    def test_unsubscribe_ends_it(self, duplex, broker):
        duplex.connect()
        identity = duplex.subscribe("/queue/a")
        duplex.unsubscribe(identity)
        assert broker.subscribers("/queue/a") == 0
        duplex.send("/queue/a", confirm=True)
        assert duplex.receive(0.01) is None

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    @pytest.mark.parametrize("ack", ["client", "client-individual"])
    def test_a_message_is_acknowledged_in_the_way_of_each_version(self, broker, version, ack):
        with QueueingDuplexClient(*broker.address, versions=(version,)) as client:
            client.subscribe("/queue/a", ack=ack)
            client.send("/queue/a", b"x", confirm=True)
            frame = client.receive()
            assert len(broker.unacknowledged("/queue/a")) == 1
            client.ack(frame)
            assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))

    @pytest.mark.parametrize("version", ["1.1", "1.2"])
    def test_a_message_that_is_refused_comes_again(self, broker, version):
        with QueueingDuplexClient(*broker.address, versions=(version,)) as client:
            client.subscribe("/queue/a", ack="client-individual")
            client.send("/queue/a", b"x", confirm=True)
            client.nack(client.receive())
            again = client.receive()
            assert (again.body, again.headers["redelivered"]) == (b"x", "true")
            client.nack(again, headers={"requeue": "false"})
            assert broker.wait_until(lambda: broker.messages("/queue/DLQ"))

    def test_version_1_0_has_no_nack(self, broker):
        with QueueingDuplexClient(*broker.address, versions=("1.0",)) as client:
            client.subscribe("/queue/a", ack="client")
            client.send("/queue/a", confirm=True)
            with pytest.raises(InvalidFrame, match=r"1\.0 has no NACK"):
                client.nack(client.receive())

    def test_a_message_of_an_earlier_session_is_not_acknowledged_in_a_later_one(self, duplex, broker):
        """The ids of both may be the same, and another message would be lost."""
        duplex.connect()
        duplex.subscribe("/queue/a", ack="client-individual")
        duplex.send("/queue/a", b"first", confirm=True)
        old = duplex.receive()
        duplex.close()
        duplex.connect()
        duplex.subscribe("/queue/a", ack="client-individual")
        new = duplex.receive()
        for refuse in (duplex.ack, duplex.nack):
            with pytest.raises(NotSent, match="earlier session"):
                refuse(old)
        assert broker.received("ACK") + broker.received("NACK") == 0
        duplex.ack(new)
        assert broker.wait_until(lambda: not broker.unacknowledged("/queue/a"))

    def test_what_needs_no_acknowledgement_cannot_get_one(self, duplex):
        duplex.connect()
        duplex.subscribe("/queue/a")
        duplex.send("/queue/a", confirm=True)
        with pytest.raises(InvalidFrame, match="client-individual"):
            duplex.ack(duplex.receive())

    @pytest.mark.parametrize("wrong", [("",), (None,), ("/queue/a", {"ack": "sometimes"}), ("/queue/a", {"id": 5})])
    def test_a_subscription_that_is_none_is_refused(self, duplex, broker, wrong):
        duplex.connect()
        with pytest.raises(InvalidFrame):
            duplex.subscribe(wrong[0], **(wrong[1] if len(wrong) > 1 else {}))
        assert broker.received("SUBSCRIBE") == 0

    def test_an_acknowledgement_can_be_part_of_a_transaction(self, duplex, broker):
        duplex.connect()
        duplex.subscribe("/queue/a", ack="client-individual")
        duplex.send("/queue/a", b"in", confirm=True)
        frame = duplex.receive()
        tx = duplex.begin()
        duplex.ack(frame, transaction=tx)
        duplex.send("/queue/b", b"out", transaction=tx)
        assert len(broker.unacknowledged("/queue/a")) == 1
        duplex.commit(tx)
        assert broker.unacknowledged("/queue/a") == []
        assert len(broker.messages("/queue/b")) == 1
        tx = duplex.begin()
        duplex.send("/queue/b", transaction=tx)
        duplex.abort(tx)
        assert len(broker.messages("/queue/b")) == 1


class TestFullQueue:
    def test_it_loses_nothing_and_answers_go_on(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=60, timeout=3)
        running = Loop(client)
        client.subscribe("/queue/a")
        for number in range(100):
            client.send("/queue/a", str(number))
        assert eventually(client.message_queue.full)
        client.send("/queue/b", confirm=True)
        got = [client.message_queue.get(timeout=5).body for _ in range(100)]
        assert got == [b"%d" % number for number in range(100)]
        client.close()
        assert running.ended()

    def test_a_receipt_behind_too_many_messages_is_a_timeout_that_says_so(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=5)
        running = Loop(client)
        client.subscribe("/queue/a")
        for number in range(100):
            client.send("/queue/a", str(number))
        assert eventually(client.message_queue.full)
        with pytest.raises(ReceiptTimeout, match="queue is full"):
            client.send("/queue/b", confirm=True, timeout=0.05)
        assert [client.message_queue.get(timeout=5).body for _ in range(100)] == [b"%d" % n for n in range(100)]
        client.close()
        assert running.ended()

    def test_heart_beats_go_on(self):
        with Broker(heart_beat=(1000, 1000)) as broker:
            self.check_that_heart_beats_go_on(broker)

    def check_that_heart_beats_go_on(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=1, heart_beat=(1000, 1000))
        running = Loop(client)
        client.subscribe("/queue/a")
        for _ in range(5):
            client.send("/queue/a")
        assert eventually(client.message_queue.full)
        running.thread.join(4.5)  # the broker disconnects a client that is silent for twice its time
        assert (client.connected, broker.sessions) == (True, 1)
        assert len([client.message_queue.get(timeout=5) for _ in range(5)]) == 5
        client.close()
        assert running.ended()

    def test_frames_for_which_there_was_no_room_can_still_be_taken_after_the_end(self, scripted):
        """They were taken from the broker already, who will not send them again."""
        over = threading.Event()

        def script(peer):
            peer.accept()
            for number in range(3):
                peer.send(
                    Frame("MESSAGE", {"destination": "/a", "message-id": "1", "subscription": "1"}, b"%d" % number)
                )
            over.wait(5)
            peer.wait_for_end()

        client = scripted(script, queue_size=1)
        running = Loop(client)
        assert eventually(client.message_queue.full)
        assert eventually(lambda: client._received.held)
        client.close()
        assert running.ended()
        over.set()
        got = []
        with pytest.raises(ConnectionLost):  # noqa: PT012
            while True:
                got.append(client.message_queue.get(timeout=1).body)
        assert got == [b"%d" % number for number in range(len(got))]
        assert len(got) >= 2

    def test_a_reset_while_it_is_full_does_not_keep_the_processor_busy(self, scripted):
        frame = Frame("MESSAGE", {"destination": "/a", "message-id": "1", "subscription": "1"})

        def script(peer):
            peer.accept()
            for _ in range(3):
                peer.send(frame)
            full.wait(5)
            peer.reset()
            gone.set()

        full, gone = threading.Event(), threading.Event()
        client = scripted(script, queue_size=1)
        running = Loop(client)
        assert eventually(client.message_queue.full)
        assert eventually(lambda: client._received.held)
        full.set()
        assert gone.wait(5)
        before = time.thread_time_ns(), time.process_time()
        running.thread.join(0.2)
        assert time.process_time() - before[1] < 0.15
        client.message_queue.get_nowait()
        client.message_queue.get(timeout=5)
        assert running.ended()
        assert isinstance(running.error, ConnectionLost)

    def test_a_sender_whose_time_is_over_takes_nothing_out_of_order(self, broker):
        client = QueueingDuplexClient(*broker.address, queue_size=20, timeout=3)
        running = Loop(client)
        client.subscribe("/queue/a")
        over = threading.Event()

        def send_in_vain():
            while not over.is_set():
                with contextlib.suppress(ReceiptTimeout):
                    client.send("/queue/b", confirm=True, timeout=0.0005)

        threads = [threading.Thread(target=send_in_vain) for _ in range(3)]
        for thread in threads:
            thread.start()
        with QueueingDuplexClient(*broker.address) as other:
            other.send_many([Message("/queue/a", str(number)) for number in range(3000)])
            got = [int(client.message_queue.get(timeout=5).body) for _ in range(3000)]
        over.set()
        for thread in threads:
            thread.join(30)
        assert got == list(range(3000))
        client.close()
        assert running.ended()
        assert running.error is None


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


class TestInput:
    def test_bad_input_sends_nothing_and_leaves_the_session(self, duplex, broker):
        duplex.connect()
        for wrong in (("",), ("/queue/a", 5), ("/queue/a", b"", {"a": "\0"}), ("/queue/a", b"", {"receipt": "1"})):
            with pytest.raises(InvalidFrame):
                duplex.send(*wrong, confirm=True)
        with pytest.raises(InvalidFrame):
            duplex.send("/queue/a", confirm=True, transaction="tx")
        duplex.send("/queue/a", b"x", confirm=True)
        assert len(broker.messages("/queue/a")) == 1

    def test_who_is_not_connected_is_told(self, duplex):
        for call in (
            lambda: duplex.send("/queue/a", transaction="tx-1"),
            lambda: duplex.subscribe("/queue/a"),
            duplex.process,
            lambda: duplex.ack(Frame("MESSAGE", {"ack": "1"})),
        ):
            with pytest.raises(NotSent, match="connect"):
                call()

    @pytest.mark.parametrize("size", [0, -1, None, "5", True])
    def test_a_queue_size_that_is_none_is_refused(self, size):
        with pytest.raises(ConfigurationError, match="queue_size"):
            QueueingDuplexClient(queue_size=size)

    def test_bad_credentials_are_refused_before_anything_is_opened(self, duplex, broker):
        with pytest.raises(ConfigurationError):
            duplex.connect(login="a\nb")
        assert broker.connections_accepted == 0

    def test_credentials_given_to_connect_are_used_again(self):
        with Broker(login="user", passcode="s3cret") as broker:
            client = QueueingDuplexClient(*broker.address)
            client.connect("user", "s3cret")
            client.disconnect()
            client.connect()
            client.close()
            assert "s3cret" not in repr(client)

    def test_a_body_that_is_too_big_is_cut_and_the_session_goes_on(self, broker):
        with QueueingDuplexClient(*broker.address, max_body_bytes=10) as client:
            client.subscribe("/queue/a", ack="client-individual")
            client.send("/queue/a", bytes(11))
            client.send("/queue/a", bytes(10))
            cut, whole = client.receive(), client.receive()
            client.ack(cut)
            client.ack(whole)
        assert (cut.body, cut.truncated, whole.body, whole.truncated) == (bytes(10), True, bytes(10), False)
        assert "11 bytes" in cut.defects[0]
        assert broker.pending("/queue/a") == []

    @pytest.mark.parametrize("name", ["max_header_bytes", "max_headers", "max_body_bytes"])
    def test_the_limits_are_options_of_the_address_and_of_the_constructor(self, broker, name):
        limit = {"max_header_bytes": 300, "max_headers": 20, "max_body_bytes": 50}
        more = {f"h{number}": "x" * 15 for number in range(30)}
        clients = [
            QueueingDuplexClient(*broker.address, **{name: limit[name]}),
            QueueingDuplexClient.from_url(broker.url + f"?{name}={limit[name]}"),
        ]
        for client in clients:
            with client:
                client.subscribe("/queue/a")
                client.send("/queue/a", bytes(100), more)
                frame = client.receive()
            assert frame.truncated
            assert name in frame.defects[0]

    @pytest.mark.parametrize("name", ["max_header_bytes", "max_headers", "max_body_bytes"])
    def test_a_limit_that_is_none_is_refused(self, name):
        with pytest.raises(ConfigurationError, match=name):
            QueueingDuplexClient(**{name: -1})

    def test_queue_get_can_be_used_as_a_standard_queue_s(self, duplex):
        duplex.connect()
        with pytest.raises(queue.Empty):
            duplex.message_queue.get(block=False)


class TestSendingLikeAPublisher:
    def test_the_first_send_connects(self, broker):
        with contextlib.closing(QueueingDuplexClient(*broker.address, confirm=True)) as client:
            client.send("/queue/first", b"1")
        assert [frame.body for frame in broker.messages("/queue/first")] == [b"1"]

    def test_a_connection_that_was_lost_is_not_opened_again_behind_the_loop_s_back(self, duplex, broker):
        duplex.connect()
        broker.faults.close_connections()
        with pytest.raises(ConnectionLost):
            duplex.receive(timeout=5)
        with pytest.raises(NotSent, match="not connected"):
            duplex.send("/queue/lost")
        assert broker.connections_accepted == 1

    def test_many_are_sent_together_and_each_is_confirmed(self, duplex, broker):
        duplex.connect()
        duplex.send_many([Message("/queue/many", str(number)) for number in range(100)], confirm=True)
        assert [frame.body for frame in broker.messages("/queue/many")] == [b"%d" % number for number in range(100)]

    def test_of_many_the_exception_names_those_that_were_confirmed(self, duplex, broker):
        duplex.connect()
        broker.faults.drop("SEND", after=2)
        messages = [Message("/queue/some", b"x", {"x-message-id": f"id-{number}"}) for number in range(4)]
        with pytest.raises(ConnectionLost) as failure:
            duplex.send_many(messages, confirm=True)
        assert failure.value.confirmed == (0, 1)
        assert failure.value.message_ids == ("id-0", "id-1", "id-2", "id-3")
        assert failure.value.destination == "/queue/some"

    def test_an_exception_names_the_message(self, duplex, broker):
        duplex.connect()
        broker.faults.error("SEND")
        with pytest.raises(Rejected) as failure:
            duplex.send("/queue/named", b"x", {"x-message-id": "mine"}, confirm=True)
        assert (failure.value.message_id, failure.value.destination) == ("mine", "/queue/named")

    def test_a_transaction_commits_when_its_block_ends_and_aborts_when_it_raises(self, duplex, broker):
        duplex.connect()
        with duplex.transaction() as transaction:
            transaction.send("/queue/tx", b"1")
            assert broker.messages("/queue/tx") == []

        def fail() -> None:
            with duplex.transaction() as transaction:
                transaction.send("/queue/tx", b"2")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert [frame.body for frame in broker.messages("/queue/tx")] == [b"1"]
