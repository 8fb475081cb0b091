"""What may be sent, and what is refused before anything is opened or written."""

from __future__ import annotations

import pytest

from stomp_web import InvalidFrame, InvalidFrameType, PublishClient
from stomp_web.broker import Broker

NAN = float("nan")


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [b"a\0b", bytearray(b"a\0b"), memoryview(b"a\0b"), memoryview(b"xax\0xbx")[1::2], memoryview(b"xa\0b")[1:]],
    )
    def test_every_kind_of_bytes_travels_as_it_is(self, client, broker, body):
        client.send("/queue/a", body, confirm=True)
        (frame,) = broker.messages("/queue/a")
        assert frame.body == b"a\0b"
        assert "content-type" not in frame.headers

    def test_a_str_travels_as_utf_8_and_says_so(self, client, broker):
        client.send("/queue/a", "Zoë\0☃", confirm=True)
        (frame,) = broker.messages("/queue/a")
        assert frame.body == "Zoë\0☃".encode()
        assert frame.headers["content-type"] == "text/plain;charset=utf-8"

    @pytest.mark.parametrize(
        "more", [{"content_type": "application/json"}, {"headers": {"content-type": "application/json"}}]
    )
    def test_the_caller_may_say_what_the_body_is(self, client, broker, more):
        client.send("/queue/a", "{}", confirm=True, **more)
        assert broker.messages("/queue/a")[0].headers["content-type"] == "application/json"

    def test_no_body_is_an_empty_one(self, client, broker):
        client.send("/queue/a", confirm=True)
        assert broker.messages("/queue/a")[0].body == b""

    def test_a_megabyte_passes(self, client, broker):
        body = bytes(range(256)) * 4096
        client.send("/queue/a", body, confirm=True)
        assert broker.messages("/queue/a")[0].body == body


class TestHeaders:
    @pytest.mark.parametrize("version", ["1.1", "1.2"])
    @pytest.mark.parametrize("value", ["", " lead and trail ", "a:b", "a\nb", "a\\b\\n", "größe ☃ \U0001f600"])
    def test_any_text_travels(self, broker, version, value):
        with PublishClient(*broker.address, versions=(version,)) as client:
            client.send("/queue/a", b"", {"name": value, "na:me\n": value}, confirm=True)
            (frame,) = broker.messages("/queue/a")
            assert (frame.headers["name"], frame.headers["na:me\n"]) == (value, value)

    def test_the_caller_s_dict_stays_as_it_was(self, client, broker):
        headers = {"a": "b"}
        client.send("/queue/a", "text", headers, content_type="x/y", confirm=True, ttl=60)
        tx = client.begin()
        client.send("/queue/a", "text", headers, transaction=tx)
        client.commit(tx)
        assert headers == {"a": "b"}

    def test_any_mapping_will_do(self, client, broker):
        from types import MappingProxyType

        client.send("/queue/a", b"", MappingProxyType({"a": "b"}), confirm=True)
        assert broker.messages("/queue/a")[0].headers["a"] == "b"


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "kind"),
        [
            (("",), InvalidFrame),
            (("  ",), InvalidFrame),
            ((None,), InvalidFrameType),
            ((b"/queue/a",), InvalidFrameType),
            (("/queue/a\0",), InvalidFrame),
            (("/queue/\ud800",), InvalidFrame),
            (("/queue/a", None), InvalidFrameType),
            (("/queue/a", 5), InvalidFrameType),
            (("/queue/a", {"a": 1}), InvalidFrameType),
            (("/queue/a", [b"a"]), InvalidFrameType),
            (("/queue/a", "\ud800"), InvalidFrame),
            (("/queue/a", b"", {"a": 1}), InvalidFrameType),
            (("/queue/a", b"", {"a": None}), InvalidFrameType),
            (("/queue/a", b"", {"a": ["b"]}), InvalidFrameType),
            (("/queue/a", b"", {1: "b"}), InvalidFrameType),
            (("/queue/a", b"", {b"a": "b"}), InvalidFrameType),
            (("/queue/a", b"", {"": "b"}), InvalidFrame),
            (("/queue/a", b"", {"a": "\0"}), InvalidFrame),
            (("/queue/a", b"", {"a": "\ud800"}), InvalidFrame),
            (("/queue/a", b"", [("a", "b")]), InvalidFrameType),
            (("/queue/a", b"", "a:b"), InvalidFrameType),
            (("/queue/a", b"", {"content-length": "0"}), InvalidFrame),
            (("/queue/a", b"", {"receipt": "1"}), InvalidFrame),
            (("/queue/a", b"", {"destination": "/queue/b"}), InvalidFrame),
            (("/queue/a", b"", {"transaction": "tx"}), InvalidFrame),
            (("/queue/a", b"", {"message-id": "1"}), InvalidFrame),
        ],
    )
    def test_bad_input_opens_and_sends_nothing(self, client, broker, arguments, kind):
        with pytest.raises(kind):
            client.send(*arguments, confirm=True)
        assert broker.connections_accepted == 0

    @pytest.mark.parametrize(
        "options",
        [
            {"ttl": 0},
            {"ttl": -1},
            {"ttl": NAN},
            {"ttl": float("inf")},
            {"ttl": True},
            {"ttl": "5"},
            {"content_type": 5},
            {"content_type": "a\0b"},
            {"content_type": "a/b", "headers": {"content-type": "c/d"}},
        ],
    )
    def test_bad_options_open_and_send_nothing(self, client, broker, options):
        with pytest.raises(InvalidFrame):
            client.send("/queue/a", b"", confirm=True, **options)
        assert broker.connections_accepted == 0

    def test_they_leave_a_connected_client_as_it_was(self, client, broker):
        client.send("/queue/a", b"0", confirm=True)
        for _ in range(3):
            with pytest.raises(InvalidFrame):
                client.send("/queue/a", b"refused", {"a": "\0"}, confirm=True)
        client.send("/queue/a", b"1", confirm=True)
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"0", b"1"]
        assert broker.connections_accepted == 1

    @pytest.mark.parametrize("headers", [{"a": "b\nc"}, {"a:b": "c"}, {"a": "b\rc"}])
    def test_what_the_version_cannot_carry_is_not_written(self, headers):
        with Broker(versions=("1.0",)) as broker, PublishClient(*broker.address) as client:
            with pytest.raises(InvalidFrame, match=r"STOMP 1\.0"):
                client.send("/queue/a", b"refused", headers, confirm=True)
            client.send("/queue/a", b"next", confirm=True)
            assert [frame.body for frame in broker.messages("/queue/a")] == [b"next"]

    def test_a_carriage_return_passes_in_1_2_only(self, broker):
        with PublishClient(*broker.address) as client:
            client.send("/queue/a", b"", {"a": "b\rc"}, confirm=True)
        with PublishClient(*broker.address, versions=("1.1",)) as client, pytest.raises(InvalidFrame):
            client.send("/queue/a", b"", {"a": "b\rc"}, confirm=True)
        assert broker.messages("/queue/a")[0].headers["a"] == "b\rc"

    def test_no_error_shows_the_body(self, client):
        with pytest.raises(InvalidFrame) as failure:
            client.send("", "s3cret")
        with pytest.raises(InvalidFrame) as other:
            client.send("/queue/a", "s3cret \ud800")
        assert "s3cret" not in repr(failure.value) + repr(other.value)
