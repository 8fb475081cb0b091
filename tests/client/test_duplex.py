"""QueueingDuplexClient: its calls, with and without a loop, and what they refuse."""

from __future__ import annotations

import contextlib
import queue
import select
import threading

import pytest

from stomp_web import (
    ConfigurationError,
    ConnectionLost,
    InvalidFrame,
    Message,
    NotSent,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.client.scripted import PATIENCE, eventually


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
            assert select.select([duplex], [], [], PATIENCE)[0]
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
                assert select.select([client], [], [], PATIENCE)[0]
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
        thread.join(120)

    def test_a_thread_that_receives_beside_another_gets_none_when_the_time_is_over(self, duplex):
        duplex.connect()
        got = []
        threads = [threading.Thread(target=lambda: got.append(duplex.receive(timeout=0.1))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert got == [None] * 3


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

    def test_a_client_that_is_not_connected_says_so(self, duplex):
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
            duplex.receive(timeout=PATIENCE)
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

    def test_of_many_the_exception_at_the_deadline_names_those_that_were_confirmed(self, duplex, broker):
        duplex.connect()
        broker.faults.mute("SEND", after=2, times=None)
        with pytest.raises(ReceiptTimeout) as failure:
            duplex.send_many([Message("/queue/some", b"x")] * 4, confirm=True, timeout=2)
        assert failure.value.confirmed == (0, 1)

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
