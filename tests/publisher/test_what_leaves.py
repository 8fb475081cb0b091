"""The bytes that leave for the broker, the connection over which they leave, and the numbers that are kept of them."""

from __future__ import annotations

import collections
import os
import threading
import time

import pytest

from stomp_web import InvalidFrame, Message, PublishClient, PublishClientPool, Publisher, StompError
from stomp_web.protocol import Frame, encode
from tests.client.scripted import Peer, eventually
from tests.fork.family import in_a_child
from tests.publisher.collect import collect

DESTINATIONS = ["/queue/a", "/queue/ünï", "/queue/a:b\\c", "/topic/x"]
PAYLOADS = [{"id": 7}, "text", None, "é" * 50, "x" * 100_000]


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
    looking.start()
    assert eventually(lambda: seen)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert eventually(lambda: seen[-1] == (600, 200))
    over.set()
    looking.join(120)
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
        begun.wait(60)
        assert eventually(lambda: client.state.session is not None)  # and now it waits for the receipt
        try:
            client.send("/queue/a", b"2", confirm=True)
        except StompError as error:
            outcome.append(str(error))
        thread.join(120)
        return "".join(outcome), thread.is_alive()

    broker.faults.delay(3, "SEND")
    said, alive = in_a_child(child)
    assert "in use by another thread" in said
    assert not alive
    assert broker.connections_accepted == 1


class Shouting(str):
    """A str that adds in a way of its own, as markupsafe's Markup does, which Flask's templates return."""

    def __add__(self, other):
        return Shouting(str(self).upper() + str(other).upper())

    def __radd__(self, other):
        return Shouting(str(other).upper() + str(self).upper())

    def __str__(self):
        return "shown otherwise"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_header_of_another_kind_of_str_changes_neither_itself_nor_the_others(broker, version):
    headers = {"first": "a<b", "title": Shouting("quiet:title"), "last": "it's"}
    with Publisher(broker.url) as publisher:
        publisher.send("/queue/a", 1, headers)
    with PublishClient.from_url(broker.url, versions=(version,)) as client:
        client.send("/queue/a", b"1", headers, confirm=True)
    for message in broker.messages("/queue/a"):
        assert {name: message.headers[name] for name in headers} == {
            "first": "a<b",
            "title": "quiet:title",
            "last": "it's",
        }


class TestPreparedMessages:
    """What `prepare` returns is a message like any other."""

    def test_a_header_that_is_added_before_it_is_delivered_leaves_with_it(self, broker):
        with Publisher(broker.url) as publisher:
            message = publisher.prepare("/queue/a", 1)
            message.headers["late"] = "yes"
            publisher.deliver([message])
        assert broker.messages("/queue/a")[0].headers["late"] == "yes"

    def test_whatever_else_of_it_is_changed_leaves_as_it_was_changed_last(self, broker):
        with Publisher(broker.url) as publisher:
            message = publisher.prepare("/queue/a", 1)
            message.body, message.destination, message.content_type = b"new", "/queue/b", "text/css"
            publisher.deliver([message])
        (sent,) = broker.messages("/queue/b")
        assert (sent.body, sent.headers["content-type"]) == (b"new", "text/css")

    def test_its_headers_leave_in_the_same_order_as_those_of_a_message_that_is_sent_at_once(self, broker):
        with Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1, {"tenant": "a"})
            publisher.deliver([publisher.prepare("/queue/a", 1, {"tenant": "a"})])
        first, second = broker.messages("/queue/a")
        assert list(first.headers) == list(second.headers)

    @pytest.mark.parametrize("observers", [(), (lambda event: None,)])
    def test_one_that_was_made_by_hand_may_be_delivered_too(self, broker, observers):
        with Publisher(broker.url, observers=observers) as publisher:
            assert publisher.deliver([Message("/queue/a", b"x", {"x-message-id": "1"})]) == ["1"]
            assert publisher.deliver([Message("/queue/a", b"y")]) == [""]
        assert [message.body for message in broker.messages("/queue/a")] == [b"x", b"y"]


class TestObserversThatChangeHeaders:
    def test_one_that_removes_the_id_changes_nothing_for_the_sender(self, broker):
        def observe(event):
            getattr(event, "headers", {}).pop("x-message-id", None)

        with Publisher(broker.url, observers=[observe]) as publisher:
            assert publisher.send("/queue/a", 1)
        assert "x-message-id" not in broker.messages("/queue/a")[0].headers

    def test_one_that_sets_a_content_type_wins(self, broker):
        def observe(event):
            if hasattr(event, "headers"):
                event.headers["content-type"] = "text/css"

        with Publisher(broker.url, observers=[observe]) as publisher:
            publisher.send("/queue/a", 1)
            publisher.send_many([Message("/queue/a", "text")])
        assert [message.headers["content-type"] for message in broker.messages("/queue/a")] == ["text/css"] * 2
