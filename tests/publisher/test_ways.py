"""A call without options takes a shorter way than one with them. Whichever it takes, the same bytes leave."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import socket
import threading
import time

import pytest

from stomp_web import (
    BrokerUnavailable,
    InvalidFrame,
    InvalidFrameType,
    Message,
    NotSent,
    PublishClient,
    PublishClientPool,
    Publisher,
    ReceiptTimeout,
    SerializationError,
    StompError,
    serializers,
)
from stomp_web.protocol import Frame, encode
from tests.client.scripted import Peer, eventually
from tests.fork.family import in_a_child

DESTINATIONS = ["/queue/a", "/queue/ünï", "/queue/a:b\\c", "/topic/x"]
PAYLOADS = [{"id": 7}, "text", None, "é" * 50, "x" * 100_000]


def collect(frames: list[tuple[dict[str, str], bytes]], server: str, version: str = "1.2"):
    """A script that takes what is sent, and answers the receipts."""

    def script(peer: Peer) -> None:
        peer.accept(version, server=server)
        with contextlib.suppress(EOFError):
            while True:
                frame = peer.frame()
                headers = dict(frame.headers)
                headers.pop("receipt", None)
                if frame.command == "SEND":
                    frames.append((headers, frame.body))
                if "receipt" in frame.headers:
                    peer.receipt(frame)

    return script


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("server", ["", "RabbitMQ/3.10.8", "ActiveMQ/5.17.2", "ActiveMQ-Artemis/2.40.0"])
@pytest.mark.parametrize("options", [{}, {"persistent": False}, {"headers": {"tenant": "a:b"}}, {"serializer": "text"}])
def test_the_publisher_sends_the_same_with_an_observer_and_without(serve, server, options, confirm):
    frames: list[tuple[dict[str, str], bytes]] = []
    url = serve(collect(frames, server)).url
    payloads = ["text", "é" * 50] if options.get("serializer") == "text" else PAYLOADS
    with Publisher(url, **options) as short, Publisher(url, observers=[lambda event: None], **options) as long:
        for destination in DESTINATIONS:
            for payload in payloads:
                for publisher in (short, short, long):
                    message_id = publisher.send(destination, payload, confirm=confirm)
                    publisher.send(destination, None if options.get("serializer") != "text" else "-")  # confirmed
                    headers, _ = frames[-2]
                    for name in ("x-message-id", "_AMQ_DUPL_ID"):
                        if name in headers:
                            assert headers.pop(name) == message_id
                first, again, other = (frames[-6], frames[-4], frames[-2])
                assert first == again == other


@pytest.mark.parametrize("destination", ["", "/queue/a\nb", "/queue/\0", 7, None, ["/queue/a"], "\ud800"])
def test_a_bad_destination_is_refused_before_anything_is_opened(make_publisher, broker, destination):
    publisher = make_publisher()
    for _ in range(2):
        with pytest.raises(InvalidFrame):
            publisher.send(destination, 1)
    assert broker.connections_accepted == 0
    assert publisher.stats().not_sent == 0


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
        written.body, written.headers["shouts"] = written.body.upper(), "1"
        return written


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


def test_the_time_for_a_call_includes_its_serialization(make_publisher, broker, monkeypatch):
    class Slow(serializers.TextSerializer):
        name = "slow"
        content_type = "text/x-slow"

        def dumps(self, payload):
            never.wait(0.3)
            return super().dumps(payload)

    never = threading.Event()
    monkeypatch.setattr(serializers.registry, "_serializers", dict(serializers.registry._serializers))
    serializers.register(Slow())
    publisher = make_publisher(serializer="slow", timeout=0.2)
    with pytest.raises(NotSent):
        publisher.send("/queue/a", "1")
    with pytest.raises(NotSent):
        make_publisher(serializer="slow").send("/queue/a", "1", timeout=0.2)
    assert broker.messages("/queue/a") == []


def test_headers_that_change_between_two_sends_are_seen(serve):
    frames: list[tuple[dict[str, str], bytes]] = []
    headers = {"n": "1"}
    with PublishClient.from_url(serve(collect(frames, "")).url) as client:
        client.send("/queue/a", b"x", headers)
        headers["n"] = "2"
        client.send("/queue/a", b"x", headers)
        del headers["n"]
        client.send("/queue/a", b"x", headers, confirm=True)
    assert [sent.get("n") for sent, _ in frames] == ["1", "2", None]


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
        written.headers.update(self.headers)
        return written


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


def test_a_mapping_that_only_equals_the_last_headers_is_written_as_it_is(serve):
    class Caseless(collections.UserDict[str, str]):
        def __eq__(self, other: object) -> bool:
            return {name.lower() for name in self} == {name.lower() for name in other}  # type: ignore[attr-defined]

        __hash__ = None  # type: ignore[assignment]

    frames: list[tuple[dict[str, str], bytes]] = []
    with PublishClient.from_url(serve(collect(frames, "")).url) as client:
        client.send("/queue/a", b"x", {"Colour": "red"})
        client.send("/queue/a", b"x", Caseless({"colour": "red"}), confirm=True)
    assert "colour" in frames[1][0]
    assert "Colour" not in frames[1][0]


def test_an_error_that_came_with_the_receipt_before_is_not_the_answer_to_the_next_message(serve):
    """RabbitMQ, when it is shut down, says so to everybody."""

    def leaves(peer: Peer) -> None:
        peer.accept()
        receipt = Frame("RECEIPT", {"receipt-id": peer.expect("SEND").headers["receipt"]})
        peer.write(encode(receipt) + encode(Frame("ERROR", {"message": "the node is shut down"})))
        peer.wait_for_end()

    def stays(peer: Peer) -> None:
        peer.accept()
        peer.serve()

    server = serve(leaves, stays)
    client = PublishClient.from_url(server.url)
    client.send("/queue/a", b"1", confirm=True)
    client.send("/queue/a", b"2", confirm=True)
    assert server.connections == 2
    client.close()


@pytest.mark.parametrize("door", [PublishClient, Publisher])
def test_bytes_that_come_without_an_end_do_not_prolong_the_deadline(serve, door):
    over = threading.Event()
    line_ends = b"\n" * 8_388_608  # so many that some always wait to be read

    def floods(peer: Peer) -> None:
        peer.accept()
        peer.expect("SEND")
        end = time.monotonic() + 5
        with contextlib.suppress(OSError):
            while not over.is_set() and time.monotonic() < end:
                peer.write(line_ends)

    url = serve(floods).url
    client = PublishClient.from_url(url) if door is PublishClient else Publisher(url)
    began = time.monotonic()
    try:
        with pytest.raises(ReceiptTimeout):
            client.send("/queue/a", b"x" if door is PublishClient else "x", confirm=True, timeout=0.3)
        assert time.monotonic() - began < 30
    finally:
        over.set()
        client.close()


def test_one_deadline_holds_for_connecting_and_for_the_receipt(serve):
    over = threading.Event()

    def slow(peer: Peer) -> None:
        peer.expect("CONNECT")
        over.wait(4)
        peer.send(Frame("CONNECTED", {"version": "1.2"}))
        peer.wait_for_end()

    client = PublishClient.from_url(serve(slow).url, timeout=5)
    began = time.monotonic()
    with pytest.raises(ReceiptTimeout):
        client.send("/queue/a", b"x", confirm=True)
    assert time.monotonic() - began < 8.5  # and not 9 or more
    client.close()


def test_a_second_try_has_no_time_of_its_own(serve):
    """The first one waits for a broker that takes no byte; the time for both is the publisher's."""
    over = threading.Event()
    server = serve(
        lambda peer: (peer.accept(), peer.receipt(peer.frame()), over.wait(60)),
        lambda peer: over.wait(60),
        receive_buffer=4096,
    )
    with Publisher(server.url, timeout=5) as publisher:
        publisher.send("/queue/a", 1)
        (lease,) = publisher._backend._pool._states[os.getpid()].idle
        sock = lease.client.state.session.transport._socket
        with pytest.raises(BlockingIOError):  # until the buffers of both sides are full  # noqa: PT012
            while True:
                while select.select([], [sock], [], 0.02)[1]:
                    sock.send(bytes(65_536), getattr(socket, "MSG_DONTWAIT", 0))
                sock.send(bytes(65_536), getattr(socket, "MSG_DONTWAIT", 0))
        lease.idle_since = began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.send("/queue/a", 2)
        assert time.monotonic() - began < 9  # and not 10
        over.set()


def test_a_client_that_is_used_without_a_pause_grows_too_old_all_the_same(make_publisher, broker):
    publisher = make_publisher(max_lifetime=3600)
    publisher.send("/queue/a", 1)
    state = publisher._backend._pool._states[os.getpid()]
    state.upkeep_at = time.monotonic() + 60  # no call looks after the idle connections meanwhile
    state.idle[0].expires_at -= 3600 * 1.1
    publisher.send("/queue/a", 2)
    publisher.send("/queue/a", 3)
    assert (publisher.stats().pool.retired, broker.connections_accepted) == (1, 2)


def test_no_message_is_left_out_of_the_numbers(make_publisher):
    """Many threads send, and another one looks at the numbers all the while."""
    publisher = make_publisher()
    over = threading.Event()
    seen: list[tuple[int, int]] = []

    def look() -> None:
        while not over.is_set():
            stats = publisher.stats()
            seen.append((stats.sent, stats.confirmed))

    def send() -> None:
        for number in range(150):
            publisher.send("/queue/a", number, confirm=number % 3 == 0)

    threads = [threading.Thread(target=send) for _ in range(4)]
    looking = threading.Thread(target=look)
    for thread in (looking, *threads):
        thread.start()
    for thread in threads:
        thread.join(30)
    over.set()
    looking.join(30)
    stats = publisher.stats()
    assert (stats.sent, stats.confirmed, stats.not_sent, stats.unknown) == (600, 200, 0, 0)
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_a_client_in_the_middle_of_a_call_is_not_lent_on(broker):
    """Such as when another thread uses it that has kept it too long."""
    with PublishClientPool(broker.url) as pool:
        with pool.client() as client:
            client.send("/queue/a", b"1", confirm=True)
            claim = client.state.claims.pop()
        with pool.client() as other:
            other.send("/queue/a", b"2", confirm=True)
        assert pool.stats().discarded == 1
        del claim


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_two_threads_of_a_child_do_not_share_a_client_that_the_parent_has_made(broker):
    client = PublishClient.from_url(broker.url)

    def child() -> tuple[str, bool]:
        begun = threading.Event()
        outcome: list[str] = []

        def first() -> None:
            begun.set()
            client.send("/queue/a", b"1", confirm=True)

        thread = threading.Thread(target=first)
        thread.start()
        begun.wait(5)
        assert eventually(lambda: client.state.session is not None)  # and now it waits for the receipt
        try:
            client.send("/queue/a", b"2", confirm=True)
        except StompError as error:
            outcome.append(str(error))
        thread.join(30)
        return "".join(outcome), thread.is_alive()

    broker.faults.delay(0.5, "SEND")
    said, alive = in_a_child(child)
    assert "in use by another thread" in said
    assert not alive
    assert broker.connections_accepted == 1
