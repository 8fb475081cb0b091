"""A call without options takes a shorter way than one with them. Whichever it takes, the same bytes leave."""

from __future__ import annotations

import contextlib

import pytest

from stomp_web import InvalidFrame, PublishClient, Publisher, serializers
from tests.client.scripted import Peer

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


@pytest.mark.parametrize("server", ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("body", [b"{}", b"", b"\xff", b"a\0b", b"x" * 70_000])
@pytest.mark.parametrize("content_type", ["application/json", None, "application/octet-stream"])
def test_a_client_sends_one_message_as_it_sends_it_in_a_batch(serve, server, version, body, content_type):
    from stomp_web import Message

    frames: list[tuple[dict[str, str], bytes]] = []
    other = Message("/queue/a", "another", {"n": "2"})
    with PublishClient.from_url(serve(collect(frames, server, version)).url) as client:
        for headers in (None, {"n": "1", "x-message-id": "a:b"}, {"n": "1", "x-message-id": "7-8"}):
            message = Message("/queue/a", body, headers, content_type=content_type)
            for confirm in (True, False):
                client.send("/queue/a", body, headers, content_type=content_type, confirm=confirm)
                client.send_many([message, other, message], confirm=confirm)
                client.disconnect()  # with a receipt
                assert frames[-4] == frames[-3] == frames[-1]
                assert frames[-1] != frames[-2]


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
