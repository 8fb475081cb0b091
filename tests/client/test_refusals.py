"""Which ERROR means that a message was refused, and which leaves it unknown: with frames that brokers have sent."""

from __future__ import annotations

import contextlib
import logging

import pytest

from stomp_web import (
    ConnectionLost,
    DeliveryUnknown,
    Message,
    NotSent,
    Publisher,
    QueueingDuplexClient,
    ReceiptTimeout,
    Rejected,
)
from stomp_web.connection.dialect import ARTEMIS, GENERIC, choose_dialect, refuses
from stomp_web.protocol import Frame
from tests.client.error_frames import CAPTURED, Captured
from tests.client.scripted import PATIENCE, eventually

each_frame = pytest.mark.parametrize("captured", CAPTURED, ids=str)
ends = pytest.mark.parametrize("captured", [each for each in CAPTURED if not each.refusal], ids=str)


def answered(peer, captured: Captured, receipt: str | None = None) -> None:
    """Send the ERROR; if it names a receipt, *receipt* in place of the captured one."""
    headers = dict(captured.frame.headers)
    if "receipt-id" in headers and receipt is not None:
        headers["receipt-id"] = receipt
    peer.send(Frame("ERROR", headers, captured.frame.body))


@each_frame
def test_the_dialect_tells_refusals_from_ends(captured):
    assert refuses(captured.frame, choose_dialect(captured.server)) is captured.refusal


@each_frame
def test_a_confirmed_message(open_client, captured):
    def script(peer):
        peer.accept(server=captured.server)
        answered(peer, captured, peer.expect("SEND").headers["receipt"])

    with pytest.raises(Rejected if captured.refusal else ConnectionLost) as failure:
        open_client(script).send("/queue/a", b"body", {"x-message-id": "id-1"}, confirm=True)
    assert failure.value.frame is not None
    assert failure.value.frame.headers.get("message") == captured.frame.headers.get("message")
    assert failure.value.message_id == "id-1"
    if not captured.refusal:
        assert "whether it arrived is not known" in str(failure.value)
        assert "rejected" not in str(failure.value)
        assert not isinstance(failure.value.__cause__, Rejected)


@ends
def test_it_is_told_at_once_though_the_connection_stays_open(open_client, captured):
    def script(peer):
        peer.accept(server=captured.server)
        peer.expect("SEND")
        answered(peer, captured)
        peer.wait_for_end()

    client = open_client(script, timeout=30.0)
    with pytest.raises(ConnectionLost):
        client.send("/queue/a", confirm=True)


@ends
def test_a_batch_is_unknown_but_for_what_was_confirmed(open_client, captured):
    def script(peer):
        peer.accept(server=captured.server)
        frames = [peer.expect("SEND") for _ in range(3)]
        peer.receipt(frames[1])
        answered(peer, captured)

    with pytest.raises(ConnectionLost, match="not known") as failure:
        open_client(script).send_many([Message("/queue/a", b"x")] * 3, confirm=True)
    assert failure.value.confirmed == (1,)
    assert not isinstance(failure.value.__cause__, Rejected)


@ends
@pytest.mark.parametrize("size", [1, 3])
def test_resend_unknown_sends_again_what_was_not_confirmed(serve, captured, size):
    ids = []

    def first(peer):
        peer.accept(server=captured.server)
        frames = [peer.expect("SEND") for _ in range(size)]
        for frame in frames[1:]:
            peer.receipt(frame)
        ids.append(frames[0].headers["x-message-id"])  # before the client can be done
        answered(peer, captured)

    def second(peer):
        peer.accept(server=captured.server)
        frame = peer.expect("SEND")
        ids.append(frame.headers["x-message-id"])
        peer.receipt(frame)
        peer.serve()

    with Publisher(serve(first, second).url, resend_unknown=True) as publisher:
        publisher.send_many([("/queue/a", number) for number in range(size)])
    assert ids[0] == ids[1]


@ends
def test_without_it_the_publisher_counts_it_as_unknown_and_sends_it_once(serve, captured):
    def script(peer):
        peer.accept(server=captured.server)
        peer.expect("SEND")
        answered(peer, captured)

    with Publisher(serve(script).url) as publisher:
        with pytest.raises(DeliveryUnknown):
            publisher.send("/queue/a", 1)
        assert (publisher.stats().rejected, publisher.stats().unknown) == (0, 1)


@ends
def test_in_answer_to_a_commit_the_transaction_is_unknown(open_client, captured):
    def script(peer):
        peer.accept(server=captured.server)
        for command in ("BEGIN", "SEND", "COMMIT"):
            peer.expect(command)
        answered(peer, captured)

    client = open_client(script)
    with pytest.raises(ConnectionLost, match="not known"), client.transaction() as tx:
        tx.send("/queue/a", b"x")


@ends
def test_before_the_commit_nothing_of_the_transaction_was_sent(open_client, captured):
    def script(peer):
        peer.accept(server=captured.server)
        for command in ("BEGIN", "SEND"):
            peer.expect(command)
        answered(peer, captured)
        peer.wait_for_end()

    client = open_client(script)
    tx = client.begin()
    client.send("/queue/a", b"x", transaction=tx)
    assert eventually(lambda: not client.connected)
    with pytest.raises(NotSent, match=r"nothing of it was committed"):
        client.commit(tx)


@ends
def test_an_unconfirmed_message_may_be_lost_and_the_log_says_so(open_client, captured, caplog):
    def script(peer):
        peer.accept(server=captured.server)
        peer.expect("SEND")
        answered(peer, captured)
        peer.wait_for_end()

    client = open_client(script)
    client.send("/queue/a", b"x")
    with caplog.at_level(logging.WARNING, "stomp_web.client"):
        assert eventually(lambda: not client.connected)
    assert "unconfirmed messages may be lost: " + captured.words in caplog.text


class TestDuplex:
    def open(self, serve, script) -> QueueingDuplexClient:
        return QueueingDuplexClient("127.0.0.1", serve(script).port, timeout=PATIENCE)

    @each_frame
    def test_a_confirmed_message(self, serve, captured):
        def script(peer):
            peer.accept(server=captured.server)
            answered(peer, captured, peer.expect("SEND").headers["receipt"])

        with contextlib.closing(self.open(serve, script)) as client:
            with pytest.raises(Rejected if captured.refusal else ConnectionLost) as failure:
                client.send("/queue/a", b"x", confirm=True)
            assert captured.words in str(failure.value)
            assert ("not known" in str(failure.value)) is not captured.refusal
            assert client.error_queue.get_nowait().body == captured.frame.body

    def test_of_a_batch_only_one_was_refused(self, serve):
        captured = next(each for each in CAPTURED if each.refusal and "receipt-id" not in each.frame.headers)

        def script(peer):
            peer.accept(server=captured.server)
            frames = [peer.expect("SEND") for _ in range(3)]
            peer.receipt(frames[0])
            answered(peer, captured)

        with contextlib.closing(self.open(serve, script)) as client:
            with pytest.raises(ConnectionLost, match="which of the others it has taken is not known") as failure:
                client.send_many([Message("/queue/a", b"x")] * 3, confirm=True)
            assert failure.value.confirmed == (0,)
            assert isinstance(failure.value.__cause__, Rejected)

    @ends
    def test_in_answer_to_a_commit_the_transaction_is_unknown(self, serve, captured):
        def script(peer):
            peer.accept(server=captured.server)
            for command in ("BEGIN", "SEND", "COMMIT"):
                peer.expect(command)
            answered(peer, captured)

        with contextlib.closing(self.open(serve, script)) as client:
            client.connect()
            with pytest.raises(ConnectionLost, match="not known"), client.transaction() as tx:
                tx.send("/queue/a", b"x")

    def test_an_error_may_be_about_an_earlier_message_whose_caller_has_given_up(self, serve):
        def script(peer):
            peer.accept(server="RabbitMQ/4.3.6")
            for _ in range(2):
                peer.expect("SEND")
            peer.error("Invalid destination", "'/a/b' is not a valid queue destination\n")
            peer.wait_for_end()

        with contextlib.closing(self.open(serve, script)) as client:
            client.connect()
            with pytest.raises(ReceiptTimeout):
                client.send("/queue/a/b", b"x", confirm=True, timeout=1)
            with pytest.raises(ConnectionLost, match="not known"):
                client.send("/queue/a", b"y", confirm=True)

    def test_what_was_answered_after_it_cannot_be_about_it(self, serve):
        def script(peer):
            peer.accept(server="RabbitMQ/4.3.6")
            peer.expect("SEND")
            for _ in range(2):
                peer.receipt(peer.expect("SEND"))
            peer.expect("SEND")
            peer.error("Invalid destination", "'/a/b' is not a valid queue destination\n")
            peer.wait_for_end()

        with contextlib.closing(self.open(serve, script)) as client:
            client.connect()
            with pytest.raises(ReceiptTimeout):
                client.send("/queue/a", b"x", confirm=True, timeout=1)
            for _ in range(2):
                client.send("/queue/a", b"y", confirm=True)
            with pytest.raises(Rejected):
                client.send("/queue/a/b", b"z", confirm=True)

    def test_an_error_may_be_about_a_message_of_an_open_transaction(self, serve):
        def script(peer):
            peer.accept(server="ActiveMQ/5.17.2")
            for command in ("BEGIN", "SEND", "SEND"):
                peer.expect(command)
            peer.error("User guest is not authorized to write to: queue://secret")  # names none: it asked for none
            peer.wait_for_end()

        with contextlib.closing(self.open(serve, script)) as client:
            client.connect()
            tx = client.begin()
            client.send("/queue/secret", b"x", transaction=tx)
            with pytest.raises(ConnectionLost, match="not known"):
                client.send("/queue/a", b"y", confirm=True)

    @ends
    def test_before_the_commit_nothing_of_the_transaction_was_sent(self, serve, captured):
        def script(peer):
            peer.accept(server=captured.server)
            for command in ("BEGIN", "SEND"):
                peer.expect(command)
            answered(peer, captured)
            peer.wait_for_end()

        with contextlib.closing(self.open(serve, script)) as client:
            client.connect()
            tx = client.begin()
            client.send("/queue/a", b"x", transaction=tx)
            with pytest.raises(ConnectionLost):
                client.receive(PATIENCE)
            with pytest.raises(NotSent, match="nothing of it was committed"):
                client.commit(tx)


class TestOfOtherBrokers:
    @pytest.mark.parametrize(
        "message",
        [
            "Server shutting down",
            "Connection closed by administrator",
            "Internal error",
            "Processing error",
            "session terminated",
            "Timed out",
            "The server is going down",
            "The journal has failed",
            "Out of memory",
            "Server error",
        ],
    )
    def test_the_announcement_of_an_end_is_no_refusal(self, message):
        assert not refuses(Frame("ERROR", {"message": message}), GENERIC)
        assert not refuses(Frame("ERROR", {}, message.encode()), GENERIC)

    @pytest.mark.parametrize(
        "message",
        [
            "Access refused",
            "Unknown destination",
            "Access to '/queue/closed' denied",
            'no queue "channel"',
            "/queue/shutdown is read-only",
        ],
    )
    def test_a_no_is_one(self, message):
        assert refuses(Frame("ERROR", {"message": message}), GENERIC)

    def test_a_frame_that_the_error_names_is_refused_whatever_the_words(self):
        assert refuses(Frame("ERROR", {"message": "Connection closed", "receipt-id": "7"}), GENERIC)

    @pytest.mark.parametrize(
        "first_line",
        [
            "org.apache.activemq.broker.BrokerStoppedException: Broker tests has been stopped",
            "java.io.IOException: disk",
        ],
    )
    def test_a_broker_that_fails_while_it_takes_a_message_may_have_taken_it(self, first_line):
        frame = Frame("ERROR", {"message": "failed", "receipt-id": "7"}, f"{first_line}\n\tat java".encode())
        assert not refuses(frame, choose_dialect("ActiveMQ/5.17.2"))

    def test_a_frame_that_artemis_does_not_name_is_no_refusal_if_it_announces_an_end(self):
        assert not refuses(Frame("ERROR", {"message": "AMQ229000: Connection failure"}), ARTEMIS)
