"""Many payloads at once: `send_many` and `batch`."""

from __future__ import annotations

import pytest

from stomp_web import ConnectionLost, InvalidFrame, Message, NotSent, Rejected, SerializationError
from stomp_web.broker import Broker


def bodies(broker: Broker, destination: str = "/queue/a") -> list[bytes]:
    return [frame.body for frame in broker.messages(destination)]


class TestSendMany:
    def test_tuples_of_destination_and_payload(self, publisher, broker):
        ids = publisher.send_many([("/queue/a", 1), ("/queue/b", 2), ("/queue/a", 3)])
        assert (bodies(broker), bodies(broker, "/queue/b")) == ([b"1", b"3"], [b"2"])
        assert len(set(ids)) == 3
        assert [frame.headers["x-message-id"] for frame in broker.messages("/queue/a")] == [ids[0], ids[2]]

    def test_tuples_with_headers(self, publisher, broker):
        publisher.send_many([("/queue/a", 1, {"n": "1"})])
        assert broker.messages("/queue/a")[0].headers["n"] == "1"

    def test_messages_with_their_bodies_as_they_are(self, publisher, broker):
        publisher.send_many(
            [Message("/queue/a", b"\0"), Message("/queue/a", "text"), Message("/queue/a", bytearray(b"x"))]
        )
        assert bodies(broker) == [b"\0", b"text", b"x"]
        assert all(frame.headers["persistent"] == "true" for frame in broker.messages("/queue/a"))
        assert all("x-message-id" in frame.headers for frame in broker.messages("/queue/a"))

    def test_messages_with_other_payloads_are_serialized(self, publisher, broker):
        publisher.send_many([Message("/queue/a", {"a": 1}, {"n": "1"}, ttl=60)])
        (frame,) = broker.messages("/queue/a")
        assert frame.body == b'{"a":1}'
        assert frame.headers["n"] == "1"
        assert "expires" in frame.headers

    def test_the_other_arguments_hold_for_all(self, publisher, broker):
        publisher.send_many(
            [("/queue/a", "1"), Message("/queue/a", "2"), Message("/queue/a", ["3"])],
            serializer="pickle",
            persistent=False,
        )
        pickled, text, message = broker.messages("/queue/a")
        assert text.body == b"2"
        for frame in (pickled, message):
            assert frame.headers["content-type"] == "application/x-python-serialize"
            assert "persistent" not in frame.headers

    def test_a_generator_will_do(self, publisher, broker):
        publisher.send_many(("/queue/a", number) for number in range(3))
        assert bodies(broker) == [b"0", b"1", b"2"]

    def test_none_at_all_opens_nothing(self, publisher, broker):
        assert publisher.send_many([]) == []
        assert broker.connections_accepted == 0

    @pytest.mark.parametrize(
        ("wrong", "kind"),
        [
            (("/queue/a", object()), SerializationError),
            (("", 1), InvalidFrame),
            (Message(""), InvalidFrame),
            (("/queue/a", 1, {"a": 1}), InvalidFrame),
            (("/queue/a",), (TypeError, ValueError)),
            ("/queue/a", (TypeError, ValueError)),
            (None, TypeError),
        ],
    )
    def test_one_that_cannot_be_sent_sends_none(self, publisher, broker, wrong, kind):
        with pytest.raises(kind):
            publisher.send_many([("/queue/a", 1), wrong])
        assert broker.connections_accepted == 0

    def test_the_caller_s_messages_stay_as_they_were(self, publisher):
        headers = {"a": "b"}
        message = Message("/queue/a", b"x", headers)
        publisher.send_many([message, ("/queue/a", 1, headers)])
        assert headers == {"a": "b"}
        assert message.id is None

    def test_what_was_confirmed_before_a_failure_is_told_and_counted(self, publisher, broker):
        broker.faults.close_before_receipt("SEND", after=2)
        with pytest.raises(ConnectionLost) as failure:
            publisher.send_many([("/queue/a", number) for number in range(4)])
        assert failure.value.confirmed == (0, 1)
        stats = publisher.stats()
        assert (stats.sent, stats.confirmed, stats.unknown) == (2, 2, 2)

    def test_a_no_among_them_tells_the_others(self):
        from stomp_web import Publisher

        with Broker(keep_open_after_error=True) as broker, Publisher(broker.url) as publisher:
            broker.faults.error("SEND", "No", after=1, close=False)
            with pytest.raises(Rejected) as failure:
                publisher.send_many([("/queue/a", number) for number in range(3)])
            assert failure.value.confirmed == (0, 2)
            assert publisher.stats().rejected == 1

    def test_nobody_there(self, publisher, broker):
        broker.faults.stop_listening()
        with pytest.raises(NotSent) as failure:
            publisher.send_many([("/queue/a", 1), ("/queue/a", 2)])
        assert failure.value.confirmed == ()
        assert publisher.stats().not_sent == 2

    def test_thousands_pass(self, publisher, broker):
        publisher.send_many(("/queue/a", number) for number in range(5000))
        assert len(bodies(broker)) == 5000


class TestBatch:
    def test_they_are_sent_when_the_block_ends(self, publisher, broker):
        with publisher.batch() as batch:
            first = batch.send("/queue/a", 1)
            second = batch.send("/queue/a", 2, priority=9)
            assert len(batch) == 2
            assert broker.connections_accepted == 0
        frames = broker.messages("/queue/a")
        assert [frame.headers["x-message-id"] for frame in frames] == [first, second]
        assert frames[1].headers["priority"] == "9"

    def test_they_are_dropped_when_it_raises(self, publisher, broker):
        with pytest.raises(KeyError), publisher.batch() as batch:  # noqa: PT012
            batch.send("/queue/a", 1)
            raise KeyError
        assert len(batch) == 0
        assert broker.connections_accepted == 0

    def test_an_empty_one_opens_nothing(self, publisher, broker):
        with publisher.batch():
            pass
        assert broker.connections_accepted == 0

    def test_what_cannot_be_sent_is_refused_where_it_is_added(self, publisher, broker):
        with publisher.batch() as batch:
            batch.send("/queue/a", 1)
            for wrong in (("/queue/a", object()), ("", 1), ("/queue/a", 1, {"a": 1})):
                with pytest.raises((SerializationError, InvalidFrame)):
                    batch.send(*wrong)
            with pytest.raises(InvalidFrame):
                batch.add(Message(""))
        assert bodies(broker) == [b"1"]

    def test_a_payload_is_written_when_it_is_added(self, publisher, broker):
        payload = {"state": "then"}
        with publisher.batch() as batch:
            batch.send("/queue/a", payload)
            payload["state"] = "later"
        assert bodies(broker) == [b'{"state":"then"}']

    def test_its_own_confirm_and_timeout_are_used(self, publisher, broker):
        broker.faults.mute("SEND", times=None)
        with publisher.batch(confirm=False) as batch:
            batch.send("/queue/a", 1)
        with pytest.raises(Exception, match=r"0\.05 s"), publisher.batch(timeout=0.05) as batch:
            batch.send("/queue/a", 1)

    def test_a_message_keeps_its_content_type(self, publisher, broker):
        with publisher.batch() as batch:
            batch.add(Message("/queue/a", {"a": 1}, content_type="application/vnd.shop+json"))
        assert broker.messages("/queue/a")[0].headers["content-type"] == "application/vnd.shop+json"


class TestPrepare:
    def test_what_was_prepared_is_sent_later_as_it_was_then(self, publisher, broker):
        payload = [1]
        message = publisher.prepare("/queue/a", payload, correlation_id="c")
        payload.append(2)
        assert broker.connections_accepted == 0
        assert publisher.deliver([message]) == [message.id]
        assert bodies(broker) == [b"[1]"]

    def test_nothing_is_delivered_without_a_word(self, publisher, broker):
        assert publisher.deliver([]) == []
        assert broker.connections_accepted == 0


def test_the_headers_of_the_option_go_with_messages_as_they_are_too(make_publisher, broker):
    publisher = make_publisher(headers={"app": "shop", "content-type": "text/csv"})
    publisher.send_many([("/queue/a", 1), Message("/queue/a", b"1"), Message("/queue/a", "1", {"app": "other"})])
    publisher.send_many([Message("/queue/a", b"1", content_type="image/png")])
    assert [frame.headers["app"] for frame in broker.messages("/queue/a")] == ["shop", "shop", "other", "shop"]
    types = [frame.headers["content-type"] for frame in broker.messages("/queue/a")]
    assert types == ["text/csv", "text/csv", "text/csv", "image/png"]
