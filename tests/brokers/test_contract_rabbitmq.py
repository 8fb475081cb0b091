"""The contract of RabbitMQ alone: what docs/how-to/rabbitmq.md states, in every version."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from stomp_web import PublishClient, Publisher, QueueingDuplexClient, Rejected, StompError
from tests.brokers.refusing import check_refused
from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.brokers.rabbitmq import RabbitMQ

QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}

QUIET = 1.0
"""Seconds after which nothing more comes."""


@pytest.fixture
def destination(destination: str, rabbitmq: RabbitMQ) -> str:
    """A queue that no other test knows."""
    return destination


@pytest.fixture
def publisher(rabbitmq: RabbitMQ) -> Iterator[Publisher]:
    with Publisher(rabbitmq.url) as publisher:
        yield publisher


def name_of(destination: str) -> str:
    return destination.removeprefix("/queue/")


def existing(destination: str) -> str:
    """The same queue, for those who do not declare it."""
    return f"/amq/queue/{name_of(destination)}"


@contextlib.contextmanager
def reading(rabbitmq: RabbitMQ, destination: str, **options: object) -> Iterator[QueueingDuplexClient]:
    with QueueingDuplexClient.from_url(rabbitmq.url) as client:
        client.subscribe(destination, **{"ack": "client-individual", **options})
        yield client


def left_in(rabbitmq: RabbitMQ, destination: str, count: int) -> list[bytes]:
    """The bodies in a queue, which are taken: so many, and what else comes soon."""
    bodies: list[bytes] = []
    with reading(rabbitmq, existing(destination)) as client:
        while (frame := client.receive(timeout=PATIENCE if len(bodies) < count else QUIET)) is not None:
            bodies.append(frame.body)
            client.ack(frame)
    return bodies


class TestNoQueue:
    @pytest.mark.parametrize(
        "destination", ["/amq/queue/missing", "/exchange/amq.direct/nobody", "/exchange/amq.fanout", "/topic/nobody"]
    )
    def test_what_reaches_no_queue_is_confirmed(self, publisher: Publisher, destination: str) -> None:
        publisher.send(destination, "nobody gets it")

    def test_an_exchange_that_is_not_there_is_refused(self, publisher: Publisher) -> None:
        with pytest.raises(Rejected, match="no exchange 'missing'"):
            publisher.send("/exchange/missing/key", "x")


class TestQuorumQueue:
    def test_who_declares_it_says_that_it_is_one_and_amq_queue_declares_nothing(
        self, rabbitmq: RabbitMQ, publisher: Publisher, destination: str
    ) -> None:
        publisher.send(destination, "1", headers=QUORUM, serializer="text")

        def send() -> None:
            with PublishClient.from_url(rabbitmq.url, confirm=True) as client:
                client.send(destination, b"refused")

        def subscribe() -> None:
            with reading(rabbitmq, destination) as client:
                client.receive(timeout=PATIENCE)

        # Each connection declares it once, with its first SEND: this one has, and the next one has not.
        check_refused(send, "inequivalent arg 'x-queue-type'", Rejected)
        publisher.send(existing(destination), "2", serializer="text")
        check_refused(subscribe, "inequivalent arg 'x-queue-type'", StompError)
        with reading(rabbitmq, destination, headers=QUORUM) as client:
            assert client.receive(timeout=PATIENCE).body == b"1"
        assert left_in(rabbitmq, destination, 2) == [b"1", b"2"]

    def test_a_lost_connection_counts_against_the_delivery_limit(
        self, rabbitmq: RabbitMQ, publisher: Publisher, destination: str
    ) -> None:
        dead = f"{destination}-dead"
        publisher.send(dead, "made", headers=QUORUM, serializer="text")
        publisher.send(destination, "fails", headers=QUORUM, serializer="text")
        limit = {"delivery_limit": 2, "dead_letter_exchange": "", "dead_letter_routing_key": name_of(dead)}
        with rabbitmq.policy(f"^{name_of(destination)}$", **limit):
            for count in (None, "1", "2"):
                with reading(rabbitmq, existing(destination)) as client:
                    frame = client.receive(timeout=PATIENCE)
                    assert frame is not None
                    assert frame.headers.get("x-delivery-count") == count
            with reading(rabbitmq, existing(dead)) as client:
                bodies = {}
                while len(bodies) < 2 and (frame := client.receive(timeout=PATIENCE)) is not None:
                    bodies[frame.body] = frame.headers
                    client.ack(frame)
        assert bodies[b"fails"]["x-first-death-reason"] == "delivery_limit"
        assert bodies[b"fails"]["x-first-death-queue"] == name_of(destination)

    def test_a_nack_counts_where_the_traits_say_so(
        self, rabbitmq: RabbitMQ, publisher: Publisher, destination: str
    ) -> None:
        publisher.send(destination, "fails", headers=QUORUM, serializer="text")
        expected = 3 if rabbitmq.traits.nacks_count else 6
        with (
            rabbitmq.policy(f"^{name_of(destination)}$", delivery_limit=2),
            reading(rabbitmq, existing(destination)) as client,
        ):
            for _ in range(expected):
                frame = client.receive(timeout=PATIENCE)
                assert frame is not None
                client.nack(frame)
            if rabbitmq.traits.nacks_count:
                assert client.receive(timeout=QUIET) is None


NOTHING = "^$"


class TestPermissions:
    """Each right is needed: without any one of them the same is refused."""

    @pytest.mark.parametrize(
        ("target", "configure", "write", "read"),
        [
            ("/queue/{}", "^{}$", "^amq.default$", NOTHING),
            ("/amq/queue/{}", NOTHING, "^amq.default$", NOTHING),
            ("/topic/{}", NOTHING, "^amq.topic$", NOTHING),
        ],
    )
    def test_to_send(
        self,
        rabbitmq: RabbitMQ,
        publisher: Publisher,
        destination: str,
        target: str,
        configure: str,
        write: str,
        read: str,
    ) -> None:
        publisher.send(destination, "made")
        rights = [right.format(name_of(destination)) for right in (configure, write, read)]

        def send(_timeout: float) -> None:
            with PublishClient.from_url(rabbitmq.address(login="reader", passcode="reader"), confirm=True) as client:
                client.send(target.format(name_of(destination)), b"x")

        self.tried(rabbitmq, rights, send)

    @pytest.mark.parametrize(
        ("target", "configure", "write", "read"),
        [
            ("/queue/{}", "^{}$", NOTHING, "^{}$"),
            ("/amq/queue/{}", NOTHING, NOTHING, "^{}$"),
            (
                "/topic/{}",
                "^stomp-subscription-.*",
                "^stomp-subscription-.*",
                "^(stomp-subscription-.*|amq.topic)$",
            ),
        ],
    )
    def test_to_subscribe(
        self,
        rabbitmq: RabbitMQ,
        publisher: Publisher,
        destination: str,
        target: str,
        configure: str,
        write: str,
        read: str,
    ) -> None:
        publisher.send(destination, "made")
        rights = [right.format(name_of(destination)) for right in (configure, write, read)]

        def subscribe(timeout: float) -> None:
            with QueueingDuplexClient.from_url(rabbitmq.address(login="reader", passcode="reader")) as client:
                client.subscribe(target.format(name_of(destination)))
                client.receive(timeout=timeout)

        self.tried(rabbitmq, rights, subscribe)

    def tried(self, rabbitmq: RabbitMQ, rights: list[str], act: Callable[[float], None]) -> None:
        try:
            rabbitmq.control("set_permissions", "--vhost", "/", "reader", *rights)
            act(QUIET)
            for number, right in enumerate(rights):
                if right != NOTHING:
                    fewer = [NOTHING if each == number else rights[each] for each in range(3)]
                    rabbitmq.control("set_permissions", "--vhost", "/", "reader", *fewer)
                    check_refused(lambda: act(PATIENCE), "access_refused", Rejected)
        finally:
            rabbitmq.control("set_permissions", "--vhost", "/", "reader", ".*", "", ".*")


def test_a_frame_over_the_limit_is_not_confirmed_and_not_taken(
    rabbitmq: RabbitMQ, publisher: Publisher, destination: str
) -> None:
    publisher.send(destination, b"x", serializer="bytes")
    limit = rabbitmq.traits.frame_limit
    publisher.send(destination, b"x" * (4 * 2**20 - 1000), serializer="bytes")
    if limit is None:
        publisher.send(destination, b"x" * (5 * 2**20), serializer="bytes")
    else:
        assert limit == 4 * 2**20
        with pytest.raises(StompError):
            publisher.send(destination, b"x" * limit, serializer="bytes")
    expected = [1, 4 * 2**20 - 1000, *([] if limit else [5 * 2**20])]
    assert [len(body) for body in left_in(rabbitmq, destination, len(expected))] == expected
