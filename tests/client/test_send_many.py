"""Many messages at once: written together, confirmed together, and, when it fails, told apart."""

from __future__ import annotations

import threading

import pytest

from stomp_web import (
    BrokerUnavailable,
    ConnectionLost,
    InvalidFrame,
    Message,
    MessageError,
    NotSent,
    PublishClient,
    ReceiptTimeout,
    Rejected,
    StompError,
)
from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.client.scripted import PATIENCE


def messages(*bodies: bytes) -> list[Message]:
    return [Message("/queue/a", body) for body in bodies]


def bodies(broker: Broker) -> list[bytes]:
    return [frame.body for frame in broker.messages("/queue/a")]


class TestSuccess:
    @pytest.mark.parametrize("confirm", [True, False])
    def test_they_arrive_in_order(self, client, broker, confirm):
        client.send_many(messages(b"0", b"1", b"2"), confirm=confirm)
        client.disconnect()
        assert bodies(broker) == [b"0", b"1", b"2"]

    def test_each_keeps_its_own_headers_and_type(self, client, broker):
        client.send_many(
            [Message("/queue/a", "text", {"n": "0"}), Message("/queue/a", b"{}", content_type="application/json")],
            confirm=True,
        )
        text, json = broker.messages("/queue/a")
        assert (text.headers["n"], text.headers["content-type"]) == ("0", "text/plain;charset=utf-8")
        assert json.headers["content-type"] == "application/json"

    def test_they_may_come_from_a_generator(self, client, broker):
        client.send_many((Message("/queue/a", str(number)) for number in range(3)), confirm=True)
        assert bodies(broker) == [b"0", b"1", b"2"]

    def test_a_generator_may_use_the_client_itself(self, client, broker):
        def generate():
            client.send("/queue/b", b"in between", confirm=True)
            yield Message("/queue/a", b"x")

        client.send_many(generate(), confirm=True)
        assert (len(broker.messages("/queue/a")), len(broker.messages("/queue/b"))) == (1, 1)

    def test_a_generator_that_fails_sends_nothing(self, client, broker):
        def generate():
            yield Message("/queue/a", b"x")
            raise KeyError

        with pytest.raises(KeyError):
            client.send_many(generate(), confirm=True)
        assert broker.connections_accepted == 0

    def test_none_at_all_opens_no_connection(self, client, broker):
        client.send_many([], confirm=True)
        assert broker.connections_accepted == 0

    def test_all_receipts_are_awaited_before_disconnect(self, open_client):
        """RabbitMQ 3.10 drops the receipts of SENDs that share a write with DISCONNECT."""
        order = []

        def script(peer):
            peer.accept()
            frames = [peer.expect("SEND") for _ in range(3)]
            for frame in reversed(frames):
                order.append("receipt")
                peer.receipt(frame)
            frame = peer.expect("DISCONNECT")
            order.append("disconnect")
            peer.receipt(frame)

        client = open_client(script)
        client.send_many(messages(b"0", b"1", b"2"), confirm=True)
        client.disconnect()
        assert order == ["receipt"] * 3 + ["disconnect"]

    def test_a_broker_that_first_writes_and_then_reads_does_not_stop_us(self, open_client):
        """Both buffers are full: if each side only wrote, they would wait for each other for ever."""

        def script(peer):
            peer.accept()
            peer.write(b"\n" * 16_000_000)
            peer.serve()

        open_client(script, timeout=60).send_many([Message("/queue/a", bytes(1_000_000))] * 16, confirm=True)

    def test_many_small_ones_and_their_receipts_pass(self, client, broker):
        client.send_many((Message("/queue/a", b"x") for _ in range(10_000)), confirm=True)
        assert len(broker.messages("/queue/a")) == 10_000

    @pytest.mark.parametrize("position", [0, 1_500])
    def test_a_large_one_before_and_among_many_small_ones_passes(self, client, broker, position):
        """More pieces than the system writes in one call."""
        batch = messages(*[b"x"] * 1_500)
        batch.insert(position, Message("/queue/a", bytes(100_000)))
        client.send_many(batch, confirm=True)
        assert [len(body) for body in bodies(broker)].index(100_000) == position
        assert len(bodies(broker)) == 1_501

    def test_big_messages_pass(self, client, broker):
        client.send_many(messages(*(bytes([number]) * 1_048_576 for number in range(8))), confirm=True)
        assert [len(body) for body in bodies(broker)] == [1_048_576] * 8


class TestFailure:
    @pytest.mark.parametrize("wrong", [("/queue/a", b"x"), {"destination": "/queue/a"}, None, "x"])
    def test_what_is_no_message_sends_nothing_and_names_its_position(self, client, broker, wrong):
        with pytest.raises(TypeError, match="position 1"):
            client.send_many([Message("/queue/a"), wrong], confirm=True)
        assert broker.connections_accepted == 0

    @pytest.mark.parametrize(
        "wrong",
        [Message(""), Message("/queue/a", {"a": 1}), Message("/queue/a", b"", {"receipt": "1"}), Message("/a", ttl=-1)],
    )
    def test_one_that_cannot_be_sent_sends_none(self, client, broker, wrong):
        with pytest.raises(InvalidFrame):
            client.send_many([Message("/queue/a"), wrong], confirm=True)
        assert broker.connections_accepted == 0

    def test_one_that_the_version_cannot_carry_sends_none(self):
        with Broker(versions=("1.0",)) as broker, PublishClient(*broker.address) as client:
            with pytest.raises(InvalidFrame, match=r"STOMP 1\.0"):
                client.send_many([Message("/queue/a"), Message("/queue/a", b"", {"a": "b\nc"})], confirm=True)
            client.send("/queue/a", b"next", confirm=True)
            assert bodies(broker) == [b"next"]

    def test_a_lost_connection_tells_which_were_confirmed(self, open_client):
        def script(peer):
            peer.accept()
            frames = [peer.expect("SEND") for _ in range(4)]
            peer.receipt(frames[2])
            peer.receipt(frames[0])

        with pytest.raises(ConnectionLost) as failure:
            open_client(script).send_many(messages(b"0", b"1", b"2", b"3"), confirm=True)
        assert failure.value.confirmed == (0, 2)

    def test_a_broker_that_goes_mute_tells_which_were_confirmed(self, client, broker):
        client.connect()
        broker.faults.mute("SEND", after=2, times=None)
        with pytest.raises(ReceiptTimeout) as failure:
            client.send_many(messages(b"0", b"1", b"2"), confirm=True, timeout=2)
        assert failure.value.confirmed == (0, 1)

    @pytest.mark.parametrize("receipt_id", [True, False])
    def test_a_broker_that_goes_on_after_an_error_tells_all_the_others(self, receipt_id):
        with Broker(keep_open_after_error=True) as broker, PublishClient(*broker.address, timeout=60) as client:
            broker.faults.error("SEND", "No", after=1, close=False, receipt_id=receipt_id)
            with pytest.raises(Rejected, match="No") as failure:
                client.send_many(messages(b"0", b"1", b"2"), confirm=True)
            assert failure.value.confirmed == (0, 2)
            assert bodies(broker) == [b"0", b"2"]

    def test_a_broker_that_ends_after_an_error_has_taken_none_of_the_messages_behind_it(self, client, broker):
        broker.faults.error("SEND", "No", after=1)
        with pytest.raises(Rejected, match="No") as failure:
            client.send_many(messages(b"0", b"1", b"2"), confirm=True)
        assert (failure.value.confirmed, failure.value.not_sent) == ((0,), (2,))

    def test_of_a_broker_that_names_no_message_and_ends_only_those_before_are_known(self, client, broker):
        broker.faults.error("SEND", "No", after=1, receipt_id=False)
        with pytest.raises(ConnectionLost, match=r"No.*not known") as failure:
            client.send_many(messages(b"0", b"1", b"2"), confirm=True)
        assert (failure.value.confirmed, failure.value.not_sent) == ((0,), ())
        assert isinstance(failure.value.__cause__, Rejected)

    def test_the_last_one_that_is_refused_is_rejected(self, client, broker):
        broker.faults.error("SEND", "No", after=2)
        with pytest.raises(Rejected, match="No") as failure:
            client.send_many(messages(b"0", b"1", b"2"), confirm=True)
        assert failure.value.confirmed == (0, 1)

    def test_an_error_that_overtakes_a_receipt_rejects_only_what_it_is_about(self, serve):
        """RabbitMQ 3.10 sends receipts when it has taken the message, and an ERROR at once."""

        def script(peer):
            peer.accept()
            peer.expect("SEND")
            second = peer.expect("SEND")
            peer.send(Frame("ERROR", {"receipt-id": second.headers["receipt"], "message": "No"}))

        client = PublishClient("127.0.0.1", serve(script).port)
        with pytest.raises(ConnectionLost, match=r"No.*not known") as failure:
            client.send_many(messages(b"good", b"bad"), confirm=True)
        assert failure.value.confirmed == ()

    def test_the_error_to_an_earlier_message_is_not_the_answer_to_one_of_many(self, serve):
        """ActiveMQ 5.17 goes on after an ERROR, and names the frame that asked for a receipt."""

        def script(peer):
            peer.accept()
            peer.expect("SEND")
            first, second = peer.expect("SEND"), peer.expect("SEND")
            peer.error("No right for the unconfirmed one")
            peer.error("No right for the first", frame=first)
            peer.receipt(second)
            peer.wait_for_end()

        client = PublishClient("127.0.0.1", serve(script).port)
        client.send("/queue/a", b"unconfirmed")
        with pytest.raises(Rejected, match="No right for the first") as failure:
            client.send_many(messages(b"0", b"1"), confirm=True)
        assert failure.value.confirmed == (1,)

    def test_of_unconfirmed_ones_nobody_knows_which_were_taken(self, serve):
        def script(peer):
            peer.accept()
            for _ in range(5):
                peer.expect("SEND")
            peer.error("No right for the sixth")
            peer.reset()

        client = PublishClient("127.0.0.1", serve(script, receive_buffer=8_192).port)
        with pytest.raises(ConnectionLost, match=r"No right for the sixth.*not known") as failure:
            client.send_many(messages(*[bytes(60_000)] * 200), confirm=False)
        assert isinstance(failure.value.__cause__, Rejected)

    def test_others_that_are_not_answered_in_time_are_unknown(self, serve):
        def script(peer):
            peer.accept()
            frames = [peer.expect("SEND") for _ in range(3)]
            peer.error("No", frame=frames[1])
            peer.wait_for_end()

        client = PublishClient("127.0.0.1", serve(script).port)
        client.connect()
        with pytest.raises(ReceiptTimeout, match="No, and did not answer to all messages in time"):
            client.send_many(messages(b"0", b"1", b"2"), confirm=True, timeout=2)

    @pytest.mark.parametrize("ending", ["close", "reset", "stall", "error"])
    def test_a_failure_while_writing_tells_which_were_confirmed(self, serve, ending):
        over = threading.Event()

        def script(peer):
            peer.accept()
            frames = [peer.expect("SEND") for _ in range(2)]
            for frame in frames:
                peer.receipt(frame)
            if ending == "error":
                peer.error("Too much")
                peer.reset()
            elif ending == "stall":
                over.wait(PATIENCE)
                peer.wait_for_end()
            elif ending == "reset":
                peer.reset()

        server = serve(script, receive_buffer=65_536)
        client = PublishClient("127.0.0.1", server.port)
        client.connect()
        patience = 2.0 if ending == "stall" else PATIENCE  # the receipts come within it on a slow machine, too
        with pytest.raises(MessageError) as failure:
            client.send_many(messages(*[bytes(1_000_000)] * 30), confirm=True, timeout=patience)
        kinds = {"stall": ReceiptTimeout}
        assert (type(failure.value.__cause__) is Rejected) is (ending == "error")
        # How many more have left whole depends on the buffers of the system. If none has, the rest was not sent.
        whole = failure.value.not_sent[0] if failure.value.not_sent else 2
        assert type(failure.value) is (
            NotSent if whole == 2 and ending != "error" else kinds.get(ending, ConnectionLost)
        )
        assert failure.value.confirmed == (0, 1)
        over.set()

    def test_nobody_there_sends_none(self, client, broker):
        broker.faults.stop_listening()
        with pytest.raises(BrokerUnavailable) as failure:
            client.send_many(messages(b"0", b"1"), confirm=True)
        assert failure.value.confirmed == ()

    def test_an_error_about_many_shows_no_body(self, client, broker):
        broker.faults.drop("SEND")
        with pytest.raises(StompError) as failure:
            client.send_many([Message("/queue/a", "s3cret"), Message("/queue/a", "s3cret")], confirm=True)
        assert "s3cret" not in str(failure.value) + repr(failure.value)
        assert "s3cret" not in repr(Message("/queue/a", "s3cret"))
