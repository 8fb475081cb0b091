"""Serializers that an application has written are used as they are."""

from __future__ import annotations

import pytest

from stomp_web import InvalidFrameType, Publisher, SerializationError, serializers
from tests.publisher.collect import collect


def test_a_signed_message_without_options_is_signed(make_publisher, broker):
    make_publisher(serializer="signed-json", signing_keys=["secret"]).send("/queue/a", {"id": 7})
    (frame,) = broker.messages("/queue/a")
    payload = serializers.deserialize(frame.body, frame.headers, accept=("signed-json",), keys=["secret"])
    assert payload == {"id": 7}


class Shouting(serializers.TextSerializer):
    """Its way to serialize is its own, with a header for what it did."""

    name = "shouting"
    content_type = "text/x-shouting"

    def serialize(self, payload, *, destination, keys=()):
        written = super().serialize(payload, destination=destination, keys=keys)
        return serializers.SerializedPayload(written.body.upper(), written.content_type, {"shouts": "1"})


class Slicing(serializers.BytesSerializer):
    """Its bodies are a part of what it has in memory."""

    name = "slicing"
    content_type = "application/x-slicing"

    def dumps(self, payload):
        return memoryview(b"before" + b"".join(payload))[6:]


class Locked(serializers.TextSerializer):
    """Serializes in a way that was given to the object, not to the class."""

    name = "locked"
    content_type = "text/x-locked"

    def __init__(self):
        self.serialize = lambda payload, **_: serializers.SerializedPayload(b"locked", self.content_type, {})


@pytest.mark.parametrize("server", ["", "ActiveMQ-Artemis/2.40.0"])
@pytest.mark.parametrize(
    ("serializer", "payload", "expected"),
    [
        (Shouting(), lambda: "text", (b"TEXT", "text/x-shouting", "1")),
        (Slicing(), lambda: iter([b"on", b"ce"]), (b"once", "application/x-slicing", "")),
        (Locked(), lambda: "text", (b"locked", "text/x-locked", "")),
    ],
)
def test_serializers_of_one_s_own_are_used_as_they_are(serve, monkeypatch, server, serializer, payload, expected):
    monkeypatch.setattr(serializers.registry, "_serializers", dict(serializers.registry._serializers))
    serializers.register(serializer)
    frames: list[tuple[dict[str, str], bytes]] = []
    with Publisher(serve(collect(frames, server)).url, serializer=serializer.name) as publisher:
        publisher.send("/queue/a", payload())
        publisher.send("/queue/a", payload())
    for headers, sent in frames:
        assert (sent, headers["content-type"], headers.get("shouts", "")) == expected
    assert len(frames) == 2


def test_a_payload_that_fails_when_it_is_read_is_not_read_again(publisher, broker):
    """The second time, it would have nothing left, and nothing would be sent as if all were well."""

    class Rows:
        def __init__(self):
            self.read = 0

    @serializers.json_form.register(Rows)
    def _(rows):
        rows.read += 1
        if rows.read == 1:
            raise RuntimeError("the database went away")
        return []

    payload = Rows()
    with pytest.raises(SerializationError, match="went away"):
        publisher.send("/queue/a", payload)
    assert payload.read == 1
    assert broker.connections_accepted == 0


class Odd(serializers.Serializer):
    """Writes whatever it is told to write."""

    name = "odd"
    content_type = "application/x-odd"
    body: object = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - each test sets its own

    def dumps(self, payload: object) -> bytes:
        return self.body  # type: ignore[return-value]

    def loads(self, body: bytes) -> object:
        return body

    def serialize(self, payload, *, destination, keys=()):
        written = super().serialize(payload, destination=destination, keys=keys)
        return serializers.SerializedPayload(written.body, written.content_type, self.headers)


@pytest.fixture
def odd(monkeypatch):
    serializer = Odd()
    monkeypatch.setitem(serializers.registry._serializers, "odd", serializer)
    return serializer


class TestSerializersOfOnesOwn:
    @pytest.mark.parametrize("body", [bytearray(b"hello"), memoryview(b"secret hello")[7:], "hello"])
    @pytest.mark.parametrize("options", [{}, {"resend_unknown": True}])
    def test_the_body_is_what_it_returned(self, make_publisher, broker, odd, body, options):
        odd.body = body
        make_publisher(serializer="odd", **options).send("/queue/a", 1)
        assert [frame.body for frame in broker.messages("/queue/a")] == [b"hello"]

    def test_what_is_no_body_is_refused(self, make_publisher, broker, odd):
        odd.body = None
        with pytest.raises(InvalidFrameType, match="must be bytes or str"):
            make_publisher(serializer="odd").send("/queue/a", 1)
        assert broker.connections_accepted == 0

    def test_its_id_and_its_content_type_count(self, make_publisher, broker, odd):
        odd.headers = {"x-message-id": "mine-1", "content-type": "text/css"}
        assert make_publisher(serializer="odd").send("/queue/a", 1) == "mine-1"
        (frame,) = broker.messages("/queue/a")
        assert (frame.headers["x-message-id"], frame.headers["content-type"]) == ("mine-1", "text/css")
