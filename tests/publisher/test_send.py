"""One payload in, one confirmed message out: its id, its headers, its body, and what is refused."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import threading
import time

import pytest

from stomp_web import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    ConnectionLost,
    InvalidFrame,
    PoolClosed,
    PoolTimeout,
    Publisher,
    ReceiptTimeout,
    Rejected,
    SerializationError,
    StompError,
)
from stomp_web.broker import Broker
from stomp_web.serializers import deserialize


def sent(broker, destination="/queue/a"):
    (frame,) = broker.messages(destination)
    return frame


class TestDefaults:
    def test_it_is_json_confirmed_and_persistent(self, publisher, broker):
        publisher.send("/queue/a", {"id": 7})
        frame = sent(broker)
        assert frame.body == b'{"id":7}'
        assert frame.headers["content-type"] == "application/json"
        assert frame.headers["persistent"] == "true"
        assert publisher.stats().confirmed == 1

    def test_nothing_is_opened_before_the_first_send(self, publisher, broker):
        publisher.stats()
        assert repr(publisher) == f"<Publisher stomp://127.0.0.1:{broker.port}>"
        assert broker.connections_accepted == 0

    def test_no_header_but_these_is_sent(self, publisher, broker):
        publisher.send("/queue/a", 1)
        headers = set(sent(broker).headers)
        assert headers - {"message-id"} == {
            "destination", "x-message-id", "persistent", "content-type", "content-length"
        }  # fmt: skip

    def test_without_an_address_it_is_the_local_broker(self):
        assert Publisher().url == "stomp://127.0.0.1:61613"

    def test_no_thread_is_started(self, publisher):
        before = threading.active_count()
        publisher.send("/queue/a", 1)
        assert threading.active_count() == before


class TestIds:
    def test_the_id_travels_with_the_message(self, publisher, broker):
        message_id = publisher.send("/queue/a", 1)
        assert sent(broker).headers["x-message-id"] == message_id

    def test_every_id_is_unique_in_all_threads_and_publishers(self, make_publisher):
        publishers = [make_publisher("null://") for _ in range(4)]
        ids = []

        def work(publisher):
            ids.extend(publisher.send("/queue/a", 1) for _ in range(200))

        threads = [threading.Thread(target=work, args=(publisher,)) for publisher in publishers for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(set(ids)) == 1600

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_child_has_ids_and_numbers_of_its_own(self, publisher, broker):
        publisher.send("/queue/a", "parent")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                publisher.send("/queue/a", "child")
                code = publisher.stats().sent - 1
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        publisher.send("/queue/a", "parent")
        frames = broker.messages("/queue/a")
        assert len({frame.headers["x-message-id"] for frame in frames}) == 3
        assert len({frame.headers["x-message-id"].partition("-")[0] for frame in frames}) == 2
        assert publisher.stats().sent == 2

    def test_an_id_of_one_s_own_is_kept(self, publisher, broker):
        assert publisher.send("/queue/a", 1, {"x-message-id": "mine"}) == "mine"
        assert sent(broker).headers["x-message-id"] == "mine"


class TestHeaders:
    def test_what_was_asked_for_is_on_the_wire(self, publisher, broker):
        publisher.send(
            "/queue/a", 1, {"mine": "1"}, priority=7, ttl=60, correlation_id="c:1", reply_to="/queue/b", persistent=True
        )
        headers = sent(broker).headers
        assert (headers["mine"], headers["priority"], headers["persistent"]) == ("1", "7", "true")
        assert (headers["correlation-id"], headers["reply-to"]) == ("c:1", "/queue/b")
        assert 50 < int(headers["expires"]) / 1000 - time.time() < 61

    def test_the_time_to_live_is_written_as_the_broker_wants_it(self):
        with Broker(server="RabbitMQ/3.10.8") as broker, Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1, ttl=60)
            assert sent(broker).headers["expiration"] == "60000"

    def test_a_message_that_need_not_survive_says_nothing(self, publisher, make_publisher, broker):
        publisher.send("/queue/a", 1, persistent=False)
        make_publisher(persistent=False).send("/queue/b", 1)
        make_publisher(persistent=False).send("/queue/c", 1, persistent=True)
        assert "persistent" not in sent(broker).headers
        assert "persistent" not in sent(broker, "/queue/b").headers
        assert sent(broker, "/queue/c").headers["persistent"] == "true"

    def test_headers_of_the_options_go_with_every_message_and_the_call_s_win(self, make_publisher, broker):
        publisher = make_publisher(headers={"app": "shop", "tenant": "a"})
        publisher.send("/queue/a", 1, {"tenant": "b"})
        headers = sent(broker).headers
        assert (headers["app"], headers["tenant"]) == ("shop", "b")

    def test_the_caller_s_dict_and_payload_stay_as_they_were(self, publisher):
        headers, payload = {"a": "b"}, {"list": [1]}
        publisher.send("/queue/a", payload, headers, priority=1, ttl=5)
        assert (headers, payload) == ({"a": "b"}, {"list": [1]})

    def test_a_content_type_of_one_s_own_is_kept(self, publisher, broker):
        publisher.send("/queue/a", {}, {"content-type": "application/vnd.shop+json"})
        assert sent(broker).headers["content-type"] == "application/vnd.shop+json"


class TestSerializers:
    @pytest.mark.parametrize(
        ("name", "payload"),
        [("json", {"a": 1}), ("pickle", {"date": datetime.datetime(2026, 1, 2)}), ("text", "Zoë"), ("bytes", b"\0")],
    )
    def test_each_comes_back_as_it_was(self, publisher, broker, name, payload):
        publisher.send("/queue/a", payload, serializer=name)
        frame = sent(broker)
        assert deserialize(frame.body, frame.headers, accept=[name]) == payload

    @pytest.mark.parametrize("name", ["signed-json", "signed-pickle"])
    def test_signed_ones_are_signed_with_the_first_key(self, make_publisher, broker, name):
        make_publisher(signing_keys=["new", "old"], serializer=name).send("/queue/a", 1)
        frame = sent(broker)
        assert deserialize(frame.body, frame.headers, accept=[name], keys=["new"]) == 1

    def test_the_option_tells_which_and_the_call_s_wins(self, make_publisher, broker):
        publisher = make_publisher(serializer="pickle")
        publisher.send("/queue/a", 1)
        publisher.send("/queue/b", 1, serializer="json")
        assert pickle.loads(sent(broker).body) == 1
        assert sent(broker, "/queue/b").body == b"1"

    def test_one_that_does_not_exist_is_refused_at_once(self, publisher, broker):
        with pytest.raises(ConfigurationError, match="yaml"):
            Publisher("stomp://mq", serializer="yaml")
        with pytest.raises(ConfigurationError, match="yaml"):
            publisher.send("/queue/a", 1, serializer="yaml")
        assert broker.connections_accepted == 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "options", "kind"),
        [
            (("/queue/a", object()), {}, SerializationError),
            (("/queue/a", float("nan")), {}, SerializationError),
            (("/queue/a", 1), {"serializer": "text"}, SerializationError),
            (("/queue/a", 1), {"serializer": "signed-json"}, ConfigurationError),
            (("", 1), {}, InvalidFrame),
            ((None, 1), {}, InvalidFrame),
            (("/queue/a", 1, {"a": "\0"}), {}, InvalidFrame),
            (("/queue/a", 1, {"a": 1}), {}, InvalidFrame),
            (("/queue/a", 1, [("a", "b")]), {}, InvalidFrame),
            (("/queue/a", 1, {"receipt": "1"}), {}, InvalidFrame),
            (("/queue/a", 1, {"content-length": "1"}), {}, InvalidFrame),
            (("/queue/a", 1, {"destination": "/queue/b"}), {}, InvalidFrame),
            (("/queue/a", 1, {"x-message-id": 5}), {}, InvalidFrame),
            (("/queue/a", 1), {"priority": 10}, InvalidFrame),
            (("/queue/a", 1), {"priority": -1}, InvalidFrame),
            (("/queue/a", 1), {"priority": "5"}, InvalidFrame),
            (("/queue/a", 1), {"priority": True}, InvalidFrame),
            (("/queue/a", 1), {"ttl": 0}, InvalidFrame),
            (("/queue/a", 1), {"ttl": "5"}, InvalidFrame),
            (("/queue/a", 1), {"ttl": float("inf")}, InvalidFrame),
            (("/queue/a", 1), {"correlation_id": 5}, InvalidFrame),
            (("/queue/a", 1), {"reply_to": ["a"]}, InvalidFrame),
            (("/queue/a", 1), {"timeout": 0}, ConfigurationError),
            (("/queue/a", 1), {"timeout": "5"}, ConfigurationError),
        ],
    )
    @pytest.mark.parametrize("url", ["the broker's", "nobody's", "memory://"])
    def test_it_gets_its_own_error_and_opens_nothing_whoever_is_there(
        self, make_publisher, broker, arguments, options, kind, url
    ):
        publisher = make_publisher({"the broker's": broker.url, "nobody's": "stomp://127.0.0.1:1"}.get(url, url))
        with pytest.raises(kind):
            publisher.send(*arguments, **options)
        assert broker.connections_accepted == 0
        assert publisher.stats().sent == 0

    def test_a_line_feed_in_a_header_travels_escaped_or_not_at_all(self):
        with Broker(versions=("1.0",)) as old, Publisher(old.url) as publisher:
            with pytest.raises(InvalidFrame, match="line feed"):
                publisher.send("/queue/a", 1, {"a": "b\nc"})
            assert old.destinations() == []
        with Broker() as new, Publisher(new.url) as publisher:
            publisher.send("/queue/a", 1, {"a": "b\nc"})
            assert sent(new).headers["a"] == "b\nc"

    def test_no_error_shows_the_payload(self, publisher):
        for arguments in (("/queue/a", {"s3cret": object()}), ("", "s3cret"), ("/queue/a", {"s3cret": {1}})):
            with pytest.raises(StompError) as failure:
                publisher.send(*arguments)
            assert "s3cret" not in str(failure.value) + repr(failure.value)


class TestFailures:
    def failure(self, kind, publisher, **options):
        with pytest.raises(kind) as failure:
            publisher.send("/queue/a", "s3cret", {"x-message-id": "id-1"}, **options)
        error = failure.value
        assert (error.destination, error.message_id) == ("/queue/a", "id-1")
        assert error.broker.startswith("stomp://127.0.0.1:")
        assert "/queue/a" in str(error)
        assert error.broker in str(error)
        assert "s3cret" not in str(error) + repr(error)
        return error

    def test_nobody_there(self, publisher, broker):
        broker.faults.stop_listening()
        error = self.failure(BrokerUnavailable, publisher)
        assert error.retry_after is not None
        self.failure(BrokerUnavailable, publisher)
        assert publisher.stats().not_sent == 2

    def test_refused_credentials(self):
        with Broker(login="user", passcode="right") as broker:
            url = f"stomp://user:wr0ng@127.0.0.1:{broker.port}"
            with Publisher(url) as publisher:
                error = self.failure(AuthenticationFailed, publisher)
                assert "wr0ng" not in str(error) + repr(publisher) + repr(publisher.options) + publisher.url

    def test_no_client_to_spare(self, make_publisher, broker):
        publisher = make_publisher(pool_size=1)
        broker.faults.mute("SEND")

        def hold():
            with pytest.raises(ConnectionLost):
                publisher.send("/queue/b", 1)

        thread = threading.Thread(target=hold)
        thread.start()
        assert broker.wait_until(lambda: broker.received("SEND"))
        self.failure(PoolTimeout, publisher, timeout=0.05)
        broker.faults.close_connections()
        thread.join(120)

    def test_a_closed_publisher(self, publisher):
        publisher.close()
        publisher.close()
        self.failure(PoolClosed, publisher)

    def test_a_no(self, publisher, broker):
        broker.faults.error("SEND", "No")
        error = self.failure(Rejected, publisher)
        assert error.message == "No"
        assert publisher.stats().rejected == 1

    def test_no_answer(self, publisher, broker):
        publisher.check()  # no time of the send goes into connecting
        broker.faults.mute("SEND")
        began = time.monotonic()
        self.failure(ReceiptTimeout, publisher, timeout=1)
        assert time.monotonic() - began < 30
        assert publisher.stats().unknown == 1

    def test_a_lost_connection(self, publisher, broker):
        broker.faults.close_before_receipt("SEND")
        self.failure(ConnectionLost, publisher)
        assert publisher.stats().unknown == 1

    def test_one_deadline_covers_everything(self, make_publisher, broker):
        broker.faults.mute("CONNECT", times=None)
        publisher = make_publisher(connect_timeout=5)
        began = time.monotonic()
        self.failure(BrokerUnavailable, publisher, timeout=0.1)
        assert time.monotonic() - began < 30

    def test_after_a_failure_the_next_message_goes_through(self, publisher, broker):
        broker.faults.error("SEND")
        with pytest.raises(Rejected):
            publisher.send("/queue/a", 1)
        publisher.send("/queue/a", 2)
        assert sent(broker).body == b"2"


class TestUnconfirmed:
    def test_it_waits_for_no_answer(self, publisher, broker):
        broker.faults.mute("SEND")
        publisher.send("/queue/a", 1, confirm=False)
        stats = publisher.stats()
        assert (stats.sent, stats.confirmed) == (1, 0)
        assert "receipt" not in broker.wait_for("/queue/a")[0].headers

    def test_close_lets_it_arrive(self, make_publisher, broker):
        publisher = make_publisher(confirm=False)
        for number in range(10):
            publisher.send("/queue/a", number)
        publisher.close()
        assert len(broker.messages("/queue/a")) == 10


class TestWhole:
    def test_check_asks_the_broker(self, publisher, broker):
        assert publisher.check()
        broker.stop()
        assert not publisher.check(0.5)
        broker.start()

    def test_stats_tell_what_became_of_the_messages_and_the_pool(self, publisher):
        publisher.send("/queue/a", 1)
        publisher.send("/queue/a", 1, confirm=False)
        stats = publisher.stats()
        assert (stats.sent, stats.confirmed, stats.not_sent, stats.rejected, stats.unknown) == (2, 1, 0, 0, 0)
        assert (stats.pool.opened, stats.pool.loans) == (1, 2)

    def test_leaving_the_block_closes(self, broker):
        with Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1)
        with pytest.raises(PoolClosed):
            publisher.send("/queue/a", 1)

    def test_32_threads_may_send_at_once(self, make_publisher, broker):
        publisher = make_publisher(pool_size=4)
        threads = [
            threading.Thread(target=lambda n=n: [publisher.send("/queue/a", [n, turn]) for turn in range(10)])
            for n in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert sorted(json.loads(frame.body) for frame in broker.messages("/queue/a")) == [
            [n, turn] for n in range(32) for turn in range(10)
        ]
        assert publisher.stats().confirmed == 320
        assert broker.connections_accepted <= 4

    def test_only_a_memory_publisher_has_an_outbox(self, publisher):
        with pytest.raises(StompError, match="memory://"):
            _ = publisher.outbox
