"""What is tried again: what was not sent, always, and what may have arrived, only if that was asked for."""

from __future__ import annotations

import time

import pytest

from stomp_web import BrokerUnavailable, ConnectionLost, DeliveryUnknown, MessageError, Publisher
from tests.client.scripted import eventually


def ids(broker):
    return [frame.headers["x-message-id"] for frame in broker.messages("/queue/a")]


class TestNotSent:
    @pytest.mark.parametrize("reset", [False, True])
    def test_a_stale_connection_is_replaced_and_nothing_is_sent_twice(self, publisher, broker, reset):
        sent = [publisher.send("/queue/a", 0)]
        broker.faults.close_connections(reset=reset)
        assert broker.wait_until(lambda: broker.sessions == 0)
        sent += [publisher.send("/queue/a", number) for number in range(3)]
        assert ids(broker) == sent

    def test_a_restarted_broker_is_found_again(self, publisher, broker):
        publisher.send("/queue/a", 0)
        broker.stop()
        with pytest.raises(BrokerUnavailable):
            publisher.send("/queue/a", 1, timeout=1)
        broker.start()

        def try_again():
            try:
                return publisher.send("/queue/a", 2)
            except BrokerUnavailable:
                return None

        assert eventually(try_again)
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"0", b"2"]

    def test_a_broker_that_hangs_up_after_each_connected_is_not_overrun(self, make_publisher, serve):
        def script(peer):
            peer.accept()
            peer.reset()

        server = serve(script)
        publisher = make_publisher(server.url)
        began = time.monotonic()
        with pytest.raises(MessageError):
            publisher.send("/queue/a", 1, timeout=0.3)
        assert time.monotonic() - began < 30
        assert server.connections < 15


class TestUnknown:
    @pytest.mark.parametrize("fault", ["close_before_receipt", "drop"])
    def test_it_is_not_sent_again_unless_that_was_asked_for(self, publisher, broker, fault):
        getattr(broker.faults, fault)("SEND")
        with pytest.raises(ConnectionLost):
            publisher.send("/queue/a", 1)
        assert broker.received("SEND") == 1

    @pytest.mark.parametrize("fault", ["close_before_receipt", "drop"])
    def test_with_resend_unknown_it_is_sent_again_under_the_same_id(self, make_publisher, broker, fault):
        publisher = make_publisher(resend_unknown=True)
        getattr(broker.faults, fault)("SEND", times=3)
        message_id = publisher.send("/queue/a", 1)
        assert broker.received("SEND") == 4
        assert set(ids(broker)) == {message_id}
        assert publisher.stats().confirmed == 1

    def test_of_many_only_those_without_receipt_are_sent_again(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        broker.faults.drop("SEND", after=2)
        sent = publisher.send_many([("/queue/a", number) for number in range(4)])
        assert ids(broker) == sent

    def test_it_ends_with_the_deadline_and_stays_unknown(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        publisher.check()  # no time of the send goes into connecting
        broker.faults.drop("SEND", times=None)
        began = time.monotonic()
        with pytest.raises(DeliveryUnknown) as failure:
            publisher.send("/queue/a", 1, {"x-message-id": "id-1"}, timeout=2)
        assert time.monotonic() - began < 30
        assert failure.value.message_id == "id-1"

    def test_a_broker_that_never_confirms_does_not_get_it_a_thousand_times(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        publisher.check()
        broker.faults.close_before_receipt("SEND", times=None)
        with pytest.raises(DeliveryUnknown):
            publisher.send("/queue/a", 1, timeout=3)
        assert 2 <= broker.received("SEND") <= 33  # the pause before each is 0.1 s

    def test_it_stays_unknown_when_the_broker_goes_away(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        publisher.check()
        broker.faults.close_before_receipt("SEND")
        broker.faults.stop_listening()
        with pytest.raises(DeliveryUnknown) as failure:
            publisher.send("/queue/a", 1, timeout=2)
        assert isinstance(failure.value.__cause__, BrokerUnavailable)
        assert publisher.stats().unknown == 1

    def test_it_waits_for_a_broker_that_comes_back(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        publisher.check()
        broker.faults.close_before_receipt("SEND")
        broker.faults.refuse()
        message_id = publisher.send("/queue/a", 1)
        assert set(ids(broker)) == {message_id}

    def test_a_no_to_the_second_try_leaves_the_first_unknown(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True)
        broker.faults.close_before_receipt("SEND")
        broker.faults.error("SEND", "No", after=0)
        with pytest.raises(DeliveryUnknown):
            publisher.send("/queue/a", 1)

    def test_an_unconfirmed_message_is_never_sent_again(self, make_publisher, broker):
        publisher = make_publisher(resend_unknown=True, confirm=False)
        broker.faults.drop("SEND")
        publisher.send("/queue/a", 1)
        assert broker.wait_until(lambda: broker.received("SEND") == 1)
        publisher.close()
        assert broker.received("SEND") == 1


def test_it_stays_unknown_when_the_next_broker_cannot_be_told_it(serve):
    """STOMP 1.0 has no escapes: a header that 1.2 has carried cannot be sent to the broker that comes next."""

    def first(peer):
        peer.accept("1.2")
        peer.expect("SEND")

    def second(peer):
        peer.accept("1.0")
        peer.wait_for_end()

    with Publisher(serve(first, second).url, resend_unknown=True) as publisher:
        with pytest.raises(ConnectionLost):
            publisher.send("/queue/a", 1, {"a:b": "1"})
        assert (publisher.stats().unknown, publisher.stats().not_sent) == (1, 0)


def test_a_batch_with_a_message_that_is_refused_is_not_sent_again(serve):
    """RabbitMQ 3.10 hangs up, and the receipts of those before it come too late."""
    taken = []

    def script(peer):
        peer.accept(server="RabbitMQ/3.10.8")
        while True:
            taken.append(peer.expect("SEND").headers["destination"])
            if taken[-1] == "/bad":
                peer.error("Unknown destination")
                return

    batch = [("/queue/a", 1), ("/bad", 2), ("/queue/c", 3)]
    publisher = Publisher(serve(script).url, resend_unknown=True)
    with publisher, pytest.raises(ConnectionLost, match="Unknown destination"):
        publisher.send_many(batch)
    assert taken == ["/queue/a", "/bad"]
