"""Sessions in STOMP 1.0, 1.1 and 1.2, tested over a socket."""

from __future__ import annotations

import pytest

from stomp_web.broker import Broker
from stomp_web.protocol import Frame
from tests.broker.wire import Wire
from tests.client.scripted import eventually

VERSIONS = ("1.0", "1.1", "1.2")


class TestConnect:
    @pytest.mark.parametrize(
        ("offered", "spoken"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.0,1.1,1.2", "1.2"), ("1.0,1.1,2.0", "1.1")]
    )
    def test_the_highest_common_version_is_spoken(self, open_wire, offered, spoken):
        assert open_wire().connect(offered).headers["version"] == spoken

    def test_a_client_that_offers_nothing_speaks_1_0(self, open_wire):
        answer = open_wire().connect(None)
        assert answer.command == "CONNECTED"
        assert "version" not in answer.headers
        assert "session" in answer.headers

    def test_no_common_version_is_answered_by_an_error_that_names_the_versions(self, open_wire):
        wire = open_wire()
        answer = wire.connect("9.9")
        assert answer.command == "ERROR"
        assert answer.headers["version"] == "1.0,1.1,1.2"
        assert answer.headers["content-type"] == "text/plain"
        assert wire.ends()

    def test_a_broker_can_be_limited_to_some_versions(self):
        with Broker(versions=("1.1",)) as broker, Wire(broker) as wire, Wire(broker) as other:
            assert wire.connect("1.0,1.1,1.2").headers["version"] == "1.1"
            assert other.connect("1.2").headers["version"] == "1.1"  # of the ERROR: what the broker speaks

    def test_a_version_that_does_not_exist_cannot_be_asked_for(self):
        with pytest.raises(ValueError, match=r"1\.3"):
            Broker(versions=("1.3",))

    def test_stomp_is_another_word_for_connect(self, open_wire):
        assert open_wire().connect(command="STOMP").command == "CONNECTED"

    def test_the_server_says_who_it_is(self, open_wire):
        assert open_wire().connect().headers["server"].startswith("stomp-web/")

    def test_the_server_can_pose_as_another(self):
        with Broker(server="RabbitMQ/3.10.8") as broker, Wire(broker) as wire:
            assert wire.connect().headers["server"] == "RabbitMQ/3.10.8"

    def test_a_second_connect_is_refused(self, connect):
        wire = connect()
        assert wire.connect().command == "ERROR"
        assert wire.ends()

    def test_any_other_frame_before_connect_is_refused(self, open_wire, broker):
        wire = open_wire()
        wire.send(Frame("SEND", {"destination": "/queue/a"}))
        assert wire.receive().command == "ERROR"
        assert wire.ends()
        assert broker.messages("/queue/a") == []

    def test_a_heart_beat_header_that_is_none_is_refused(self, open_wire):
        assert open_wire().connect(heart_beat="x,y").command == "ERROR"

    def test_line_ends_before_connect_are_passed_over(self, open_wire):
        wire = open_wire()
        wire.write(b"\n\n\r\n")
        assert wire.connect().command == "CONNECTED"

    def test_frames_in_one_write_with_connect_are_read_in_the_version_that_was_agreed(self, open_wire, broker):
        wire = open_wire()
        wire.write(b"CONNECT\naccept-version:1.1\nhost:/\n\n\0SEND\ndestination:/queue/a\nx:a\\cb\nreceipt:1\n\n\0")
        assert [wire.receive().command, wire.receive().command] == ["CONNECTED", "RECEIPT"]
        assert broker.messages("/queue/a")[0].headers["x"] == "a:b"

    def test_a_receipt_on_connect_is_not_answered(self, open_wire):
        wire = open_wire()
        wire.connect(receipt="r")
        assert wire.nothing_waits()

    def test_the_log_numbers_connections_one_by_one(self, connect, caplog):
        caplog.set_level("INFO", "stomp_web.broker")
        for number in (1, 2, 3):
            connect(heart_beat="1000,1000")
            assert eventually(lambda number=number: f"connection {number}: connected" in caplog.text)


class TestLogin:
    @pytest.fixture
    def broker(self):
        with Broker(login="Jö:rg", passcode="ge/heim@ß") as broker:
            yield broker

    def test_the_right_login_is_accepted(self, open_wire):
        assert open_wire().connect(login="Jö:rg", passcode="ge/heim@ß").command == "CONNECTED"

    @pytest.mark.parametrize("passcode", ["wrong", ""])
    def test_a_wrong_passcode_is_refused_by_an_error_that_names_the_user_and_no_passcode(self, open_wire, passcode):
        wire = open_wire()
        answer = wire.connect(login="Jö:rg", passcode=passcode)
        assert answer.command == "ERROR"
        assert "Jö:rg" in answer.body.decode()
        assert "ge/heim" not in answer.body.decode()
        assert "wrong" not in answer.body.decode()
        assert wire.ends()

    def test_a_wrong_user_is_refused(self, open_wire):
        assert open_wire().connect(login="eve", passcode="ge/heim@ß").command == "ERROR"

    def test_a_missing_login_is_refused(self, open_wire):
        assert open_wire().connect().command == "ERROR"

    def test_the_url_has_what_a_client_needs(self, broker):
        assert broker.url == f"stomp://J%C3%B6%3Arg:ge%2Fheim%40%C3%9F@127.0.0.1:{broker.port}"

    def test_no_passcode_is_kept_or_logged(self, open_wire, broker, caplog):
        caplog.set_level("DEBUG", "stomp_web.broker")
        open_wire().connect(login="Jö:rg", passcode="ge/heim@ß")
        open_wire().connect(login="Jö:rg", passcode="nonsense")
        assert [frame.headers["passcode"] for frame in broker.connects] == ["***", "***"]
        assert "ge/heim" not in caplog.text
        assert "nonsense" not in caplog.text

    def test_without_a_login_anybody_may_connect(self):
        with Broker() as broker, Wire(broker) as wire:
            assert wire.connect(login="any", passcode="thing").command == "CONNECTED"


class TestVirtualHost:
    @pytest.mark.parametrize("host", ["/", "localhost", "127.0.0.1"])
    def test_the_root_and_the_brokers_own_names_are_accepted(self, open_wire, host):
        assert open_wire().connect(host=host).command == "CONNECTED"

    def test_a_missing_host_is_the_root(self, open_wire):
        wire = open_wire()
        wire.send(Frame("CONNECT", {"accept-version": "1.2"}))
        assert wire.receive().command == "CONNECTED"

    @pytest.mark.parametrize("host", ["nowhere", ""])
    def test_an_unknown_one_is_refused_by_name(self, open_wire, host):
        wire = open_wire()
        answer = wire.connect(host=host)
        assert answer.command == "ERROR"
        assert f"'{host}'" in answer.body.decode()
        assert wire.ends()

    def test_a_broker_can_have_others(self):
        with Broker(vhosts=("pro/duction",)) as broker, Wire(broker) as right, Wire(broker) as wrong:
            assert broker.url.endswith("/pro%2Fduction")
            assert right.connect(host="pro/duction").command == "CONNECTED"
            assert wrong.connect(host="/").command == "ERROR"


class TestReceipts:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_frame_that_asks_gets_one(self, connect, version):
        wire = connect(version)
        wire.do("SUBSCRIBE", {"destination": "/queue/a", "id": "1"})
        wire.do("SEND", {"destination": "/queue/b"}, b"x")
        wire.do("BEGIN", {"transaction": "t"})
        wire.do("COMMIT", {"transaction": "t"})
        wire.do("BEGIN", {"transaction": "t"})
        wire.do("ABORT", {"transaction": "t"})
        wire.do("UNSUBSCRIBE", {"id": "1"})
        wire.do("DISCONNECT")
        assert wire.ends()

    def test_a_receipt_tells_that_the_frame_took_effect(self, connect, broker):
        wire = connect()
        for number in range(1, 20):
            wire.put("/queue/a", b"x")
            assert len(broker.messages("/queue/a")) == number

    def test_its_id_comes_back_whatever_it_is(self, connect):
        wire = connect()
        wire.send(Frame("SEND", {"destination": "/queue/a", "receipt": "a:b\nc\\d\r ü "}))
        assert wire.receive() == Frame("RECEIPT", {"receipt-id": "a:b\nc\\d\r ü "})

    def test_sends_that_share_a_write_with_disconnect_are_all_confirmed(self, connect):
        wire = connect()
        sends = b"".join(b"SEND\ndestination:/queue/a\nreceipt:%d\n\nx\0" % number for number in range(3))
        wire.write(sends + b"DISCONNECT\nreceipt:bye\n\n\0")
        assert [wire.receive().headers["receipt-id"] for _ in range(4)] == ["0", "1", "2", "bye"]

    def test_a_frame_without_receipt_is_not_answered(self, connect):
        wire = connect()
        wire.send(Frame("SEND", {"destination": "/queue/a"}))
        assert wire.nothing_waits()


class TestErrors:
    REFUSED = (
        ("SEND", {}),
        ("SEND", {"destination": ""}),
        ("SEND", {"destination": "/queue/a", "transaction": "nope"}),
        ("SEND", {"destination": "/queue/a", "priority": "high"}),
        ("SEND", {"destination": "/queue/a", "expires": "-1"}),
        ("SUBSCRIBE", {"id": "1"}),
        ("SUBSCRIBE", {"destination": "/queue/a"}),
        ("SUBSCRIBE", {"destination": "/queue/a", "id": "1", "ack": "bogus"}),
        ("SUBSCRIBE", {"destination": "/queue/a", "id": "1", "selector": "a = 1"}),
        ("SUBSCRIBE", {"destination": "/topic/a", "id": "1", "activemq.subscriptionName": "without client-id"}),
        ("UNSUBSCRIBE", {}),
        ("UNSUBSCRIBE", {"id": "nope"}),
        ("ACK", {}),
        ("ACK", {"id": "nope"}),
        ("NACK", {"id": "1:1"}),
        ("BEGIN", {}),
        ("COMMIT", {"transaction": "nope"}),
        ("ABORT", {"transaction": "nope"}),
        ("CONNECTED", {}),
        ("MESSAGE", {"destination": "/queue/a"}),
    )

    @pytest.mark.parametrize(("command", "headers"), REFUSED)
    def test_a_frame_that_makes_no_sense_is_answered_by_an_error_and_the_end(self, connect, broker, command, headers):
        wire = connect()
        wire.send(Frame(command, {**headers, "receipt": "r:1"}))
        answer = wire.receive()
        assert answer.command == "ERROR"
        assert answer.headers["receipt-id"] == "r:1"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["message"]
        assert answer.body
        assert wire.ends()
        assert broker.wait_until(lambda: broker.sessions == 0)

    def test_an_error_has_no_receipt_id_if_none_was_asked_for(self, connect):
        wire = connect()
        wire.send(Frame("ABORT", {"transaction": "nope"}))
        assert "receipt-id" not in wire.receive().headers

    def test_a_subscription_id_can_be_used_once(self, connect):
        wire = connect()
        wire.subscribe("/queue/a", "1")
        assert wire.ask("SUBSCRIBE", {"destination": "/queue/b", "id": "1"}).command == "ERROR"

    def test_1_0_has_no_nack(self, connect):
        wire = connect("1.0")
        assert wire.ask("NACK", {"message-id": "1"}).command == "ERROR"

    def test_what_follows_an_error_in_the_same_write_has_no_effect(self, connect, broker):
        wire = connect()
        wire.write(b"ABORT\ntransaction:no\n\n\0SEND\ndestination:/queue/a\n\nx\0")
        assert wire.receive().command == "ERROR"
        assert wire.ends()
        assert broker.messages("/queue/a") == []

    def test_a_denied_destination_is_named(self):
        with Broker(denied=("/queue/forbidden", "/queue/private/*")) as broker:
            for command in ("SEND", "SUBSCRIBE"):
                for destination in ("/queue/forbidden", "/queue/private/a"):
                    with Wire(broker) as wire:
                        wire.connect()
                        answer = wire.ask(command, {"destination": destination, "id": "1"})
                        assert answer.command == "ERROR"
                        assert destination in answer.body.decode()
            assert broker.messages("/queue/forbidden") == []

    def test_the_session_can_go_on_as_with_rabbitmq_and_activemq(self):
        with Broker(keep_open_after_error=True) as broker, Wire(broker) as wire:
            wire.connect()
            for command, headers in self.REFUSED[:-2]:
                assert wire.ask(command, headers).command == "ERROR"
            wire.put("/queue/a", b"x")
            assert broker.sessions == 1

    def test_what_is_no_frame_ends_the_session_always(self):
        with Broker(keep_open_after_error=True) as broker, Wire(broker) as wire:
            wire.connect()
            wire.write(b"SEND\ndestination\n\n\0")
            assert wire.receive().command == "ERROR"
            assert wire.ends()


class TestTransactions:
    def test_nothing_is_sent_before_the_commit(self, connect, broker):
        wire = connect()
        wire.do("BEGIN", {"transaction": "t"})
        wire.put("/queue/a", b"1", b"2", transaction="t")
        assert broker.messages("/queue/a") == []
        wire.do("COMMIT", {"transaction": "t"})
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"1", b"2"]

    def test_nothing_is_sent_after_an_abort(self, connect, broker):
        wire = connect()
        wire.do("BEGIN", {"transaction": "t"})
        wire.put("/queue/a", b"1", transaction="t")
        wire.do("ABORT", {"transaction": "t"})
        assert broker.messages("/queue/a") == []

    @pytest.mark.parametrize("how", ["disconnect", "close"])
    def test_an_open_one_is_abandoned_with_its_session(self, connect, broker, how):
        wire = connect()
        wire.do("BEGIN", {"transaction": "t"})
        wire.put("/queue/a", b"1", transaction="t")
        if how == "disconnect":
            wire.do("DISCONNECT")
        else:
            wire.sock.close()
        assert broker.wait_until(lambda: broker.sessions == 0)
        assert broker.messages("/queue/a") == []

    def test_two_are_open_side_by_side(self, connect, broker):
        wire = connect()
        wire.do("BEGIN", {"transaction": "t"})
        wire.do("BEGIN", {"transaction": "u"})
        wire.put("/queue/a", b"t", transaction="t")
        wire.put("/queue/a", b"u", transaction="u")
        wire.do("COMMIT", {"transaction": "u"})
        wire.do("ABORT", {"transaction": "t"})
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"u"]

    def test_a_name_can_be_used_again_after_its_end_but_not_before(self, connect):
        wire = connect()
        for _ in range(2):
            wire.do("BEGIN", {"transaction": "t"})
            wire.do("COMMIT", {"transaction": "t"})
        wire.do("BEGIN", {"transaction": "t"})
        assert wire.ask("BEGIN", {"transaction": "t"}).command == "ERROR"

    def test_an_ack_counts_with_the_commit(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1", b"2")
        wire.subscribe("/queue/a", ack="client-individual")
        first, second = wire.receive(), wire.receive()
        wire.do("BEGIN", {"transaction": "t"})
        wire.ack(first, transaction="t")
        wire.ack(second, "NACK", transaction="t", requeue="false")
        assert wire.nothing_waits()
        assert len(broker.unacknowledged("/queue/a")) == 2
        wire.do("COMMIT", {"transaction": "t"})
        assert broker.unacknowledged("/queue/a") == []
        assert [frame.body for frame in broker.messages("/queue/DLQ")] == [b"2"]

    def test_an_ack_that_was_aborted_can_be_given_again(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1")
        wire.subscribe("/queue/a", ack="client")
        message = wire.receive()
        wire.do("BEGIN", {"transaction": "t"})
        wire.ack(message, transaction="t")
        wire.do("ABORT", {"transaction": "t"})
        assert len(broker.unacknowledged("/queue/a")) == 1
        wire.ack(message)
        assert wire.nothing_waits()
        assert broker.unacknowledged("/queue/a") == []

    def test_a_commit_that_cannot_be_done_whole_is_not_done_at_all(self, connect, broker):
        wire = connect()
        wire.put("/queue/a", b"1")
        wire.subscribe("/queue/a", ack="client")
        message = wire.receive()
        wire.do("BEGIN", {"transaction": "t"})
        wire.put("/queue/b", b"2", transaction="t")
        wire.ack(message, transaction="t")
        wire.ack(message)
        assert wire.ask("COMMIT", {"transaction": "t"}).command == "ERROR"
        assert broker.messages("/queue/b") == []


class TestVersion10:
    def test_a_subscription_needs_no_id(self, connect):
        wire = connect("1.0")
        wire.do("SUBSCRIBE", {"destination": "/queue/a"})
        wire.send(Frame("SEND", {"destination": "/queue/a"}, b"x"))
        message = wire.receive()
        assert message.body == b"x"
        assert "subscription" not in message.headers
        wire.do("UNSUBSCRIBE", {"destination": "/queue/a"})

    def test_padded_values_are_understood_as_in_its_own_examples(self, open_wire, broker):
        wire = open_wire()
        wire.write(b"CONNECT\nlogin: a\npasscode: b\n\n\0SEND\ndestination: /queue/a\nreceipt: 77\nkept: x\n\nhello\0")
        assert [wire.receive().command, wire.receive()] == ["CONNECTED", Frame("RECEIPT", {"receipt-id": "77"})]
        assert broker.messages("/queue/a")[0].headers["kept"] == " x"

    def test_ack_names_the_message_alone(self, connect, broker):
        wire = connect("1.0")
        wire.put("/queue/a", b"1", b"2")
        wire.do("SUBSCRIBE", {"destination": "/queue/a", "ack": "client"})
        wire.receive()
        wire.send(Frame("ACK", {"message-id": wire.receive().headers["message-id"]}))
        assert wire.nothing_waits()
        assert broker.unacknowledged("/queue/a") == []

    def test_a_header_that_it_cannot_carry_is_left_out_and_the_message_delivered(self, connect):
        new, old = connect("1.2"), connect("1.0")
        old.subscribe("/queue/a")
        new.do("SEND", {"destination": "/queue/a", "bad": "a\nforged:1", "b:d": "x", "good": "yes"}, b"body")
        message = old.receive()
        assert message.body == b"body"
        assert message.headers["good"] == "yes"
        assert not {"bad", "forged", "b:d", "b"} & set(message.headers)
