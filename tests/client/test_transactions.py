"""Transactions: begin, commit, abort, the context manager, and what breaks in the middle."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from stomp_web import (
    ConnectionLost,
    DeliveryUnknown,
    InvalidFrame,
    MessageError,
    NotSent,
    PublishClient,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.broker import Broker
from tests.client.scripted import PATIENCE, eventually, news


def bodies(broker: Broker) -> list[bytes]:
    return [frame.body for frame in broker.messages("/queue/a")]


class TestByHand:
    def test_nothing_arrives_before_commit(self, client, broker):
        tx = client.begin()
        client.send("/queue/a", b"0", transaction=tx)
        client.send("/queue/a", b"1", transaction=tx)
        assert broker.wait_until(lambda: broker.received("SEND") == 2)
        assert bodies(broker) == []
        client.commit(tx)
        assert bodies(broker) == [b"0", b"1"]

    def test_nothing_arrives_after_abort(self, client, broker):
        tx = client.begin()
        client.send("/queue/a", b"0", transaction=tx)
        client.abort(tx)
        assert bodies(broker) == []
        client.send("/queue/a", b"1", confirm=True)
        assert bodies(broker) == [b"1"]

    def test_two_transactions_may_be_open_at_once(self, client, broker):
        one, two = client.begin(), client.begin()
        client.send("/queue/a", b"1", transaction=one)
        client.send("/queue/a", b"2", transaction=two)
        client.send("/queue/a", b"0", confirm=True)
        client.abort(one)
        client.commit(two)
        assert bodies(broker) == [b"0", b"2"]

    @pytest.mark.parametrize("end", ["commit", "send"])
    @pytest.mark.parametrize("which", ["never begun", "committed", "aborted"])
    def test_what_is_not_open_is_refused_without_a_word_to_the_broker(self, client, broker, end, which):
        tx = client.begin()
        if which != "never begun":
            getattr(client, {"committed": "commit", "aborted": "abort"}[which])(tx)
        else:
            tx = "nope"
        before = broker.received("COMMIT") + broker.received("SEND")
        with pytest.raises(NotSent, match="not open"):
            client.commit(tx) if end == "commit" else client.send("/queue/a", transaction=tx)
        assert broker.received("COMMIT") + broker.received("SEND") == before

    def test_aborting_what_is_not_open_does_nothing(self, client, broker):
        client.abort("nope")
        tx = client.begin()
        client.abort(tx)
        client.abort(tx)
        assert broker.received("ABORT") == 1

    def test_a_message_in_it_cannot_be_confirmed_by_itself(self, client, broker):
        tx = client.begin()
        with pytest.raises(InvalidFrame, match="COMMIT is confirmed"):
            client.send("/queue/a", transaction=tx, confirm=True)
        client.commit(tx)

    def test_a_client_that_confirms_confirms_the_commit_only(self, broker):
        with PublishClient(*broker.address, confirm=True) as client:
            tx = client.begin()
            client.send("/queue/a", b"0", transaction=tx)
            client.commit(tx)
        assert bodies(broker) == [b"0"]


class TestContextManager:
    def test_the_end_of_the_block_commits(self, client, broker):
        with client.transaction() as tx:
            tx.send("/queue/a", b"0", {"n": "0"}, content_type="x/y")
            tx.send("/queue/a", "1")
            assert tx.id
        assert bodies(broker) == [b"0", b"1"]
        assert broker.messages("/queue/a")[0].headers["content-type"] == "x/y"

    def test_an_exception_aborts_and_passes_through(self, client, broker):
        with pytest.raises(KeyError), client.transaction() as tx:  # noqa: PT012
            tx.send("/queue/a", b"0")
            raise KeyError
        assert bodies(broker) == []
        assert broker.received("ABORT") == 1
        with client.transaction() as tx:
            tx.send("/queue/a", b"1")
        assert bodies(broker) == [b"1"]
        assert broker.connections_accepted == 1

    def test_an_exception_passes_through_though_the_abort_is_not_answered(self, broker):
        broker.faults.freeze("ABORT")
        client = PublishClient(*broker.address, timeout=2)
        with pytest.raises(KeyError), client.transaction() as tx:  # noqa: PT012
            tx.send("/queue/a", b"0")
            raise KeyError
        assert not client.connected
        broker.faults.thaw()

    def test_a_message_that_cannot_be_sent_aborts(self, client, broker):
        with pytest.raises(InvalidFrame), client.transaction() as tx:  # noqa: PT012
            tx.send("/queue/a", b"0")
            tx.send("", b"1")
        assert bodies(broker) == []


class TestLostConnections:
    def test_a_connection_lost_inside_commits_nothing_and_says_so(self, client, broker):
        with pytest.raises(NotSent, match="committed"), client.transaction() as tx:  # noqa: PT012
            tx.send("/queue/a", b"0")
            assert broker.wait_until(lambda: broker.received("SEND"))
            broker.faults.close_connections()
            assert eventually(lambda: not client.connected)
            tx.send("/queue/a", b"1")
        assert bodies(broker) == []
        client.send("/queue/a", b"2", confirm=True)
        assert bodies(broker) == [b"2"]

    def test_a_connection_lost_before_commit_commits_nothing_and_says_so(self, client, broker):
        with pytest.raises(NotSent), client.transaction() as tx:  # noqa: PT012
            tx.send("/queue/a", b"0")
            broker.faults.close_connections()
            assert eventually(lambda: not client.connected)
        assert (bodies(broker), broker.received("COMMIT")) == ([], 0)

    def test_a_transaction_does_not_go_on_on_another_connection(self, client, broker):
        tx = client.begin()
        client.close()
        client.connect()
        with pytest.raises(NotSent):
            client.send("/queue/a", transaction=tx)
        with pytest.raises(NotSent):
            client.commit(tx)
        client.abort(tx)
        assert broker.received("SEND") + broker.received("COMMIT") + broker.received("ABORT") == 0

    def test_an_exception_passes_through_though_the_connection_was_lost(self, client, broker):
        with pytest.raises(KeyError), client.transaction():  # noqa: PT012
            client.close()
            raise KeyError

    def test_a_commit_without_an_answer_is_unknown(self, client, broker):
        broker.faults.close_before_receipt("COMMIT")
        with pytest.raises(ConnectionLost), client.transaction() as tx:
            tx.send("/queue/a", b"0")
        assert bodies(broker) == [b"0"]

    def test_a_commit_that_takes_too_long_is_unknown(self, client, broker):
        broker.faults.mute("COMMIT")
        tx = client.begin()
        with pytest.raises(ReceiptTimeout):
            client.commit(tx, timeout=1)


class TestErrors:
    def test_a_refused_commit_is_a_rejection(self, client, broker):
        broker.faults.error("COMMIT", "No")
        with pytest.raises(Rejected, match="No"), client.transaction() as tx:
            tx.send("/queue/a", b"0")
        assert bodies(broker) == []

    def test_a_refused_message_is_a_rejection_of_the_commit(self, client, broker):
        broker.faults.error("SEND", "No", close=False)
        with pytest.raises(Rejected, match="No"), client.transaction() as tx:
            tx.send("/queue/a", b"0")

    def test_a_refused_message_is_told_by_the_next_call_in_the_transaction(self, client, broker):
        broker.faults.error("SEND", "No")
        tx = client.begin()
        client.send("/queue/a", b"0", transaction=tx)
        assert eventually(lambda: not client.connected)
        with pytest.raises(Rejected, match="No"):
            client.send("/queue/a", b"1", transaction=tx)

    def test_an_error_about_a_message_before_the_transaction_leaves_the_commit_unknown(self, open_client):
        def script(peer):
            peer.accept()
            peer.expect("SEND")
            peer.expect("BEGIN")
            peer.expect("SEND")
            commit = peer.expect("COMMIT")
            peer.error("Unknown destination")  # about the first; RabbitMQ 3.10 does not say about which
            peer.receipt(commit)
            peer.wait_for_end()

        client = open_client(script)
        client.send("/bad", b"unconfirmed")
        with pytest.raises(DeliveryUnknown, match="Unknown destination"), client.transaction() as tx:
            tx.send("/queue/a", b"0")

    def test_an_error_after_the_begin_of_one_is_not_the_next_one_s(self, client, broker):
        broker.faults.error("SEND", "No")
        tx = client.begin()
        client.send("/queue/a", transaction=tx)
        assert eventually(lambda: not client.connected)
        client.abort(tx)
        with client.transaction() as tx:
            tx.send("/queue/a", b"1")
        assert bodies(broker) == [b"1"]


class TestRabbitMQ:
    """RabbitMQ 3.10 sends the receipts of SENDs in a transaction after that of COMMIT; a refused one has none."""

    def script(self, outcome):
        def script(peer):
            peer.accept(server="RabbitMQ/3.10.8")
            peer.expect("BEGIN")
            sends = [peer.expect("SEND") for _ in range(2)]
            commit = peer.expect("COMMIT")
            peer.receipt(commit)
            peer.receipt(sends[0])
            if outcome == "error":
                peer.error("precondition_failed")
            elif outcome == "good":
                peer.receipt(sends[1])
                peer.serve()

        return script

    def run(self, client):
        with client.transaction() as tx:
            tx.send("/queue/a", b"0")
            tx.send("/queue/a", b"1")

    def test_the_commit_waits_for_the_receipts_of_its_messages(self, open_client):
        client = open_client(self.script("good"))
        self.run(client)
        assert client.connected

    def test_a_message_that_was_refused_is_told(self, open_client):
        with pytest.raises(Rejected, match="precondition_failed"):
            self.run(open_client(self.script("error")))

    def test_a_message_without_its_receipt_is_told(self, open_client):
        with pytest.raises(DeliveryUnknown):
            self.run(open_client(self.script("end")))

    @pytest.mark.parametrize("kind", [PublishClient, QueueingDuplexClient])
    def test_the_messages_have_one_outcome_so_none_of_them_is_named_as_confirmed(self, serve, kind):
        with contextlib.closing(kind("127.0.0.1", serve(self.script("end")).port, timeout=PATIENCE)) as client:
            client.connect()
            with pytest.raises(DeliveryUnknown) as failure:
                self.run(client)
        assert failure.value.confirmed == ()

    def test_other_brokers_are_not_asked_for_them(self, client, broker):
        broker.faults.mute("SEND", times=None)
        self.run(client)
        assert all("receipt" not in frame.headers for frame in broker.messages("/queue/a"))


class TestPing:
    def test_it_leaves_nothing_at_the_broker(self, client, broker):
        client.ping()
        assert (broker.received("BEGIN"), broker.received("ABORT")) == (1, 1)
        assert broker.destinations() == []

    def test_it_connects_first(self, client, broker):
        client.ping()
        assert client.connected

    @pytest.mark.parametrize("on", ["BEGIN", "ABORT"])
    def test_a_broker_that_hangs_up_is_not_alive(self, client, broker, on):
        broker.faults.drop(on)
        with pytest.raises(MessageError):
            client.ping()

    def test_a_connection_that_ends_between_its_two_frames_is_not_alive(self, client, broker, monkeypatch):
        begin = client._begin

        def begin_and_lose(deadline):
            tx = begin(deadline)
            session = client.state.session
            broker.faults.close_connections()
            assert news(session)
            return tx

        monkeypatch.setattr(client, "_begin", begin_and_lose)
        with pytest.raises(MessageError):
            client.ping()

    def test_it_takes_no_longer_than_it_may(self, client, broker):
        client.connect()
        broker.faults.freeze()
        with pytest.raises(ReceiptTimeout):
            client.ping(1)
        broker.faults.thaw()

    def test_it_takes_no_longer_than_it_may_where_it_has_to_connect(self, serve):
        over = threading.Event()
        client = PublishClient("127.0.0.1", serve(lambda peer: over.wait(PATIENCE)).port, timeout=5.0)
        began = time.monotonic()
        with pytest.raises(NotSent):
            client.ping(0.05)
        assert time.monotonic() - began < 30
        over.set()


class TestWhoAnErrorIsAbout:
    def test_another_message_s_error_is_not_the_transaction_s(self, serve):
        def script(peer):
            peer.accept()
            peer.expect("BEGIN")
            peer.expect("SEND")
            peer.receipt(peer.expect("SEND"))
            peer.expect("SEND")
            peer.expect("COMMIT")
            peer.error("No")

        client = PublishClient("127.0.0.1", serve(script).port)
        tx = client.begin()
        client.send("/queue/a", b"of the transaction", transaction=tx)
        client.send("/queue/a", b"confirmed", confirm=True)
        client.send("/queue/a", b"unconfirmed")
        with pytest.raises(ConnectionLost, match="may be about one of them"):
            client.commit(tx)

    def test_the_error_to_begin_is_not_the_next_message_s(self, serve):
        def script(peer):
            peer.accept()
            peer.expect("BEGIN")
            peer.expect("SEND")
            peer.error("No transactions here")

        client = PublishClient("127.0.0.1", serve(script).port)
        client.begin()
        with pytest.raises(ConnectionLost, match="may be about one of them"):
            client.send("/queue/a", b"1", confirm=True)


def test_a_transaction_that_there_was_no_time_to_end_is_still_open(client, broker):
    tx = client.begin()
    client.send("/queue/a", b"0", transaction=tx)
    for end in (client.commit, client.abort):
        with pytest.raises(NotSent, match="no time"):
            end(tx, timeout=1e-9)
    assert not client.state.is_reusable
    client.commit(tx)
    assert bodies(broker) == [b"0"]


class TestRefusedMeanwhile:
    """The ERROR is seen by a look at the connection, before the COMMIT."""

    def refusing(self, *commands):
        def script(peer):
            peer.accept()
            for command in commands:
                peer.expect(command)
            peer.error("No right")
            peer.wait_for_end()

        return script

    def test_the_error_to_another_message_is_logged_and_the_transaction_is_not_open(self, serve, caplog):
        client = PublishClient("127.0.0.1", serve(self.refusing("SEND", "BEGIN", "SEND")).port)
        client.send("/queue/u", b"unconfirmed")
        tx = client.begin()
        client.send("/queue/t", b"0", transaction=tx)
        assert news(client.state.session)
        with pytest.raises(NotSent, match="not open"):
            client.commit(tx)
        assert "No right" in caplog.text

    def test_another_transaction_does_not_make_it_forgotten(self, open_client):
        client = open_client(self.refusing("BEGIN", "SEND"), lambda peer: peer.accept() and peer.serve())
        tx = client.begin()
        client.send("/queue/t", b"0", transaction=tx)
        assert news(client.state.session)
        other = client.begin()
        with pytest.raises(Rejected, match="No right"):
            client.commit(tx)
        client.commit(other)
