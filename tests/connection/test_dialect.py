"""What differs between brokers, chosen by the server header of CONNECTED."""

from __future__ import annotations

import time

import pytest

from stomp_web import PublishClient, Publisher
from stomp_web.broker import Broker
from stomp_web.client.encoder import is_text
from stomp_web.connection.dialect import ACTIVEMQ, ARTEMIS, GENERIC, RABBITMQ, choose_dialect

POSES = {
    "rabbitmq": "RabbitMQ/3.10.8",
    "activemq": "ActiveMQ/5.17.2",
    "artemis": "ActiveMQ-Artemis/2.31.2 ActiveMQ Artemis Messaging Engine",
    "generic": "other/1.0",
}


def sent_to(name: str, *arguments: object, **options: object) -> dict[str, str]:
    """The headers that arrive at a broker that poses as *name*."""
    with Broker(server=POSES[name]) as broker, PublishClient(*broker.address) as client:
        client.send("/queue/a", *arguments, confirm=True, **options)
        return broker.messages("/queue/a")[0].headers


@pytest.mark.parametrize(
    ("server", "dialect"),
    [
        ("RabbitMQ/3.10.8", RABBITMQ),
        ("RabbitMQ/4.0.0", RABBITMQ),
        ("ActiveMQ/5.17.2", ACTIVEMQ),
        ("ActiveMQ-Artemis/2.31.2 ActiveMQ Artemis Messaging Engine", ARTEMIS),
        ("apache-apollo/1.7", GENERIC),
        ("", GENERIC),
        (None, GENERIC),
    ],
)
def test_the_server_header_tells_the_dialect(server, dialect):
    assert choose_dialect(server) is dialect


class TestContentLength:
    @pytest.mark.parametrize("broker", ["activemq", "artemis"])
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [("text", None), ("{}", "application/json"), (b"{}", "application/json"), (b"<a/>", "image/svg+xml")],
    )
    def test_a_jms_broker_gets_text_without_it(self, broker, body, content_type):
        assert "content-length" not in sent_to(broker, body, content_type=content_type)

    @pytest.mark.parametrize("broker", ["activemq", "artemis"])
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"bytes", None),
            (b"bytes", "application/octet-stream"),
            ("with\0nul", None),
            (b"\xff", "text/plain"),
            (b"latin", "text/plain;charset=iso-8859-1"),
        ],
    )
    def test_a_jms_broker_gets_everything_else_with_it(self, broker, body, content_type):
        assert sent_to(broker, body, content_type=content_type)["content-length"] == str(len(body))

    @pytest.mark.parametrize("broker", ["rabbitmq", "generic"])
    def test_other_brokers_always_get_it(self, broker):
        assert sent_to(broker, "text")["content-length"] == "4"

    @pytest.mark.parametrize(
        ("content_type", "text"),
        [
            (None, False),
            ("", False),
            ("text/plain", True),
            ("TEXT/HTML; Charset=UTF-8", True),
            ('text/plain; charset="utf-8"', True),
            ("text/plain;charset=utf-8;format=flowed", True),
            ("text/plain;format=flowed;charset=latin-1", False),
            ("application/json;signed=hmac-sha256", True),
            ("application/problem+json", True),
            ("application/pdf", False),
        ],
    )
    def test_text_is_what_its_type_says_is_text_in_utf_8(self, content_type, text):
        assert is_text(content_type) is text


class TestTimeToLive:
    def test_rabbitmq_gets_the_milliseconds_to_live(self):
        assert sent_to("rabbitmq", ttl=60)["expiration"] == "60000"

    @pytest.mark.parametrize("broker", ["activemq", "artemis", "generic"])
    def test_the_others_get_the_moment_of_the_end(self, broker):
        headers = sent_to(broker, ttl=60)
        assert "expiration" not in headers
        assert 50 < int(headers["expires"]) / 1000 - time.time() < 61

    def test_a_fraction_is_rounded_but_never_to_nothing(self):
        assert sent_to("rabbitmq", ttl=1.5)["expiration"] == "1500"
        assert RABBITMQ.expiry_of(0.0001) == "1"


class TestDuplicates:
    @pytest.mark.parametrize("name", POSES)
    def test_a_send_that_is_not_repeated_asks_no_broker_to_drop_duplicates(self, name):
        assert "_AMQ_DUPL_ID" not in sent_to(name, b"", {"x-message-id": "7"})

    @pytest.mark.parametrize("name", POSES)
    def test_one_that_may_be_repeated_asks_artemis_to_with_another_value_for_each_message(self, name):
        with Broker(server=POSES[name]) as broker, Publisher(broker.url, resend_unknown=True) as publisher:
            for _ in range(2):
                publisher.send("/queue/a", 1, {"x-message-id": "7"})
            publisher.send_many([("/queue/a", 2), ("/queue/a", 3)])
            values = [frame.headers.get("_AMQ_DUPL_ID") for frame in broker.messages("/queue/a")]
        assert len(set(values)) == (4 if name == "artemis" else 1)
        assert (None in values) == (name != "artemis")

    def test_the_caller_s_own_wins(self):
        assert sent_to("artemis", b"", {"_AMQ_DUPL_ID": "8"})["_AMQ_DUPL_ID"] == "8"


class TestTypesOfDestinations:
    @pytest.mark.parametrize("options", [{}, {"ttl": 60}, {"content_type": "text/plain"}])
    def test_artemis_is_told_what_kind_it_is(self, options):
        assert sent_to("artemis", b"x", **options)["destination-type"] == "ANYCAST"
        assert ARTEMIS.sent_type("/topic/a") == ("destination-type", "MULTICAST")
        assert ARTEMIS.sent_type("a") is None

    def test_the_caller_s_own_wins(self):
        assert sent_to("artemis", b"x", {"destination-type": "MULTICAST"})["destination-type"] == "MULTICAST"

    @pytest.mark.parametrize("name", [name for name in POSES if name != "artemis"])
    def test_the_others_are_not(self, name):
        assert "destination-type" not in sent_to(name, b"x")


class TestPrefetch:
    @pytest.mark.parametrize("dialect", [ACTIVEMQ, GENERIC, RABBITMQ])
    def test_most_brokers_count_messages(self, dialect):
        assert list(dialect.prefetch(8).values()) == ["8"]

    def test_artemis_counts_bytes_and_sends_one_message_if_it_may_send_none(self):
        assert ARTEMIS.prefetch(8) == {"consumer-window-size": "81920"}
        assert ARTEMIS.prefetch(1) == {"consumer-window-size": "0"}


class TestDestinations:
    def test_rabbitmq_wants_slashes_in_names_quoted(self):
        assert RABBITMQ.queue("a/b c%") == "/queue/a%2Fb c%25"
        assert RABBITMQ.topic("a.*.#") == "/topic/a.*.#"

    @pytest.mark.parametrize("dialect", [ACTIVEMQ, ARTEMIS, GENERIC])
    def test_the_others_do_not(self, dialect):
        assert dialect.queue("a/b") == "/queue/a/b"
