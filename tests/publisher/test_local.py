"""Publishers without a broker: memory://, console://, null://."""

from __future__ import annotations

import datetime
import json

import pytest

from stomp_web import InvalidFrame, Message, Publisher, SerializationError
from stomp_web.observers import SendSucceeded

LOCAL = ["memory://", "console://", "null://"]


@pytest.mark.parametrize("url", LOCAL)
class TestAll:
    def test_they_take_what_a_broker_would_take(self, url, capsys):
        with Publisher(url) as publisher:
            assert publisher.send("/queue/a", {"id": 7}, ttl=5, priority=3, correlation_id="c")
            assert len(publisher.send_many([("/queue/a", 1), Message("/queue/a", b"x")])) == 2
            assert publisher.stats().sent == 3
            assert publisher.stats().pool is None
            assert publisher.check()
            assert (publisher.url, repr(publisher)) == (url, f"<Publisher {url}>")

    def test_they_refuse_what_a_broker_s_client_would_refuse(self, url, capsys):
        publisher = Publisher(url)
        for wrong in (("", 1), ("/queue/a", 1, {"receipt": "1"}), ("/queue/a", 1, {"a": 1})):
            with pytest.raises(InvalidFrame):
                publisher.send(*wrong)
        with pytest.raises(SerializationError):
            publisher.send("/queue/a", object())
        with pytest.raises(InvalidFrame):
            publisher.send_many([Message("/queue/a", b"good"), Message("", b"bad")])
        assert publisher.stats().sent == 0
        assert capsys.readouterr().out == ""

    def test_observers_are_told(self, url, capsys):
        events = []
        publisher = Publisher(url, observers=[events.append])
        publisher.send("/queue/a", 1)
        assert isinstance(events[-1], SendSucceeded)


class TestMemory:
    def test_it_records(self):
        publisher = Publisher("memory://", signing_keys=["key"])
        message_id = publisher.send("/queue/a", {"id": 7}, {"a": "b"})
        publisher.send("/queue/b", {"date": datetime.date(2026, 1, 2)}, serializer="pickle")
        publisher.send("/queue/c", "x", serializer="signed-json")
        publisher.send("/queue/d", b"\0", serializer="bytes")
        first, second, third, fourth = publisher.outbox
        assert (first.id, first.destination, first.body) == (message_id, "/queue/a", b'{"id":7}')
        assert (first.payload, first.content_type, first.headers["a"]) == ({"id": 7}, "application/json", "b")
        assert second.payload == {"date": datetime.date(2026, 1, 2)}
        assert (third.payload, fourth.payload) == ("x", b"\0")

    def test_the_list_may_be_cleared(self):
        publisher = Publisher("memory://")
        publisher.send("/queue/a", 1)
        publisher.outbox.clear()
        publisher.send("/queue/a", 2)
        assert [message.payload for message in publisher.outbox] == [2]

    def test_each_publisher_has_its_own(self):
        one, two = Publisher("memory://"), Publisher("memory://")
        one.send("/queue/a", 1)
        assert two.outbox == []

    def test_nothing_shows_a_body(self):
        publisher = Publisher("memory://", signing_keys=["s3cret"])
        publisher.send("/queue/a", "s3cret")
        assert "s3cret" not in repr(publisher.outbox)


class TestConsole:
    def test_it_prints_headers_and_body(self, capsys):
        Publisher("console://").send("/queue/a", {"name": "Zoë"}, {"a": "b"})
        out = capsys.readouterr().out
        assert out.startswith("SEND /queue/a\n")
        assert "  a: b\n" in out
        assert json.loads(out.split("\n\n")[1].splitlines()[0]) == {"name": "Zoë"}

    def test_it_prints_bytes_too(self, capsys):
        Publisher("console://").send("/queue/a", b"\xff\0", serializer="bytes")
        assert r"b'\xff\x00'" in capsys.readouterr().out
