"""Signed messages where brokers write destinations anew: they are read, and one that was moved is not."""

from __future__ import annotations

import base64
import contextlib
import hmac
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import tests.conftest
from stomp_web import Frame, Publisher, QueueingDuplexClient, SerializationError
from stomp_web.cli.display import read_body
from stomp_web.serializers import SIGNATURE, SIGNED_DESTINATION, deserialize, get_serializer
from stomp_web.serializers.destinations import delivers
from stomp_web.testing import capture
from stomp_web.worker import Worker
from tests.brokers.activemq import ActiveMQ
from tests.brokers.fleet import BROKERS
from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.running import RunningBroker

# The real ones: that of this folder is the development broker.
broker = tests.conftest.broker

KEYS = ["a-secret"]
RABBITMQ = [name for name in BROKERS if name.startswith("rabbitmq")]
ACTIVEMQ = [name for name in BROKERS if name.startswith("activemq")]

# What was sent to, and where it is found.
SAME = [
    ("/queue/a", "/queue/a"),
    ("/queue/für", "/queue/f%C3%BCr"),
    ("/queue/f%c3%bcr", "/queue/f%C3%BCr"),
    ("/amq/queue/x", "/queue/x"),
    ("/amq/queue/für", "/queue/f%C3%BCr"),
    ("/reply-queue/amq.gen-7", "/queue/amq.gen-7"),
    ("x", "/queue/x"),
    ("/queue/a%2Fb", "/queue/a%2fb"),
    ("/queue/a%2Fb", "/queue/a/b"),
    ("/exchange/amq.topic/orders.eu", "/topic/orders.eu"),
    ("/topic/orders.eu", "/exchange/amq.topic/orders.eu"),
    ("/exchange/shop/ö", "/exchange/shop/%C3%B6"),
    ("/topic/VirtualTopic.Orders", "/queue/Consumer.A.VirtualTopic.Orders"),
    ("/topic/VirtualTopic.Orders.EU", "/queue/Consumer.A.VirtualTopic.Orders.EU"),
    ("/queue/a,b", "/queue/b"),
    ("/queue/a,/queue/b", "/queue/a"),
    ("/queue/a,/topic/b", "/topic/b"),
    ("/queue/a,b", "/queue/a,b"),
]
MOVED = [
    ("/queue/a", "/queue/b"),
    ("/queue/a", "/topic/a"),
    ("/reply-queue/amq.gen-7", "/queue/amq.gen-8"),
    ("/topic/a", "/queue/a"),
    ("/queue/a", "/queue/A"),
    ("/queue/a", "/queue/a/b"),
    ("/queue/a", "/exchange/amq.direct/a"),
    ("/queue/A", "/queue/%41"),  # another queue, on RabbitMQ and on ActiveMQ
    ("/queue/%ff", "/queue/%fe"),
    ("/exchange/one/k", "/exchange/two/k"),
    ("/exchange/one/k", "/exchange/one/l"),
    ("/topic/VirtualTopic.Orders", "/queue/Consumer.A.VirtualTopic.Other"),
    ("/topic/VirtualTopic.Orders", "/queue/Consumer.A.B.VirtualTopic.Orders"),
    ("/topic/VirtualTopic.Orders", "/queue/VirtualTopic.Orders"),
    ("/queue/VirtualTopic.Orders", "/queue/Consumer.A.VirtualTopic.Orders"),
    ("/topic/Orders", "/queue/Consumer.A.Orders"),
    ("/queue/Consumer.A.VirtualTopic.Orders", "/topic/VirtualTopic.Orders"),
    ("/queue/b", "/queue/a,b"),
    ("/queue/a,b", "/topic/b"),
    ("/queue/a,b", "/queue/c"),
    ("/queue/a", ""),
]


def signed(destination: str, payload: Any = 7) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a signed message as it leaves."""
    written = get_serializer("signed-json").serialize(payload, destination=destination, keys=KEYS)
    return written.body, {"content-type": written.content_type, **written.headers}


def read(body: bytes, headers: dict[str, str], **more: Any) -> Any:
    return deserialize(body, headers, accept=["signed-json"], keys=KEYS, **more)


class TestTheRule:
    @pytest.mark.parametrize(("sent_to", "found_in"), SAME)
    def test_a_message_is_read_where_its_broker_puts_it(self, sent_to, found_in):
        body, headers = signed(sent_to)

        assert delivers(sent_to, found_in)
        assert read(body, {**headers, "destination": found_in}) == 7

    @pytest.mark.parametrize(("sent_to", "found_in"), MOVED)
    def test_a_message_that_was_moved_is_refused(self, sent_to, found_in):
        body, headers = signed(sent_to)

        assert not delivers(sent_to, found_in)
        with pytest.raises(SerializationError, match=r"was signed for .* and was moved"):
            read(body, {**headers, "destination": found_in})

    def test_the_signed_destination_cannot_be_changed(self):
        body, headers = signed("/queue/a")
        with pytest.raises(SerializationError, match="has no valid signature"):
            read(body, {**headers, "destination": "/queue/b", SIGNED_DESTINATION: "/queue/b"})

    def test_nor_be_left_out(self):
        body, headers = signed("/queue/a")
        del headers[SIGNED_DESTINATION]
        with pytest.raises(SerializationError, match="has no valid signature"):
            read(body, {**headers, "destination": "/queue/b"})

    def test_a_message_without_a_destination_is_read_only_where_it_was_expected(self):
        body, headers = signed("/queue/a")
        with pytest.raises(SerializationError, match="was moved"):
            read(body, headers)
        assert read(body, headers, sent_to="/queue/a") == 7

    def test_what_an_earlier_version_signed_is_read_as_before(self):
        body, headers = signed("/queue/a")
        del headers[SIGNED_DESTINATION]

        assert read(body, {**headers, "destination": "/queue/a"}) == 7
        with pytest.raises(SerializationError, match="has no valid signature"):
            read(body, {**headers, "destination": "/queue/%61"})

    def test_and_also_where_the_subscription_says_what_the_broker_has_written_anew(self):
        body, headers = signed("/queue/für")
        del headers[SIGNED_DESTINATION]
        assert read(body, {**headers, "destination": "/queue/f%C3%BCr"}, sent_to="/queue/für") == 7

    def test_an_earlier_version_reads_what_this_one_signs(self):
        """Its rule: the signature is over the destination of the message."""
        body, headers = signed("/queue/a")
        parts = (b"application/json;signed=hmac-sha256", b"/queue/a", body)
        covered = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        digest = hmac.digest(b"stomp_web.serializers" + KEYS[0].encode(), covered, "sha256")
        assert headers[SIGNATURE] == base64.b64encode(digest).decode()

    def test_another_destination_is_read_if_the_reader_names_it(self):
        body, headers = signed("/exchange/orders/eu")
        headers["destination"] = "/queue/eu"

        assert read(body, headers, sent_to=["/queue/eu", "/exchange/orders/eu"]) == 7
        with pytest.raises(SerializationError, match="name the signed destination in sent_to"):
            read(body, headers, sent_to="/queue/eu")

    def test_a_pickle_that_was_moved_is_not_read(self):
        written = get_serializer("signed-pickle").serialize(7, destination="/queue/a", keys=KEYS)
        headers = {"content-type": written.content_type, **written.headers, "destination": "/queue/b"}
        with pytest.raises(SerializationError, match="was moved"):
            deserialize(written.body, headers, accept=["signed-pickle"], keys=KEYS)


class TestPlaces:
    def test_the_memory_of_a_publisher_and_a_capture_read_it(self):
        with Publisher("memory://", signing_keys=KEYS) as publisher:
            publisher.send("/queue/für", 7, serializer="signed-json")
            assert publisher.outbox[0].payload == 7
            with capture() as outbox:
                publisher.send("/amq/queue/x", 8, serializer="signed-json")
            assert outbox[0].payload == 8

    def test_the_command_listen_reads_it(self):
        body, headers = signed("/topic/orders.eu", {"at": "home"})
        frame = Frame("MESSAGE", {**headers, "destination": "/elsewhere"}, body)
        assert '"at": "home"' in read_body(frame, (), KEYS, "/topic/orders.eu").text
        assert "was moved" in (read_body(frame, (), KEYS, "/queue/other").unread or "")

    @pytest.mark.parametrize("given", ["/queue/composite", ["/queue/composite"]])
    def test_a_handler_of_every_framework_takes_other_destinations(self, given):
        from stomp_web.django.handlers import handlers_by_alias
        from stomp_web.django.handlers import subscribe as django_subscribe
        from stomp_web.flask import Stomp
        from stomp_web.worker import Handlers

        alias, stomp, handlers = uuid.uuid4().hex, Stomp(), Handlers()
        for subscribe in (handlers.subscribe, stomp.subscribe):
            subscribe("/queue/a", sent_to=given)(print_it)
        django_subscribe("/queue/a", using=alias, sent_to=given)(print_it)

        for made in (handlers, stomp.handlers, handlers_by_alias.pop(alias)):
            (handler,) = made
            assert handler.sent_to == ("/queue/composite",)


def print_it(message: Any) -> None:
    """A handler."""


@contextlib.contextmanager
def handled(broker: RunningBroker, destination: str, dead: str, **more: Any) -> Iterator[list[Any]]:
    """The payloads that a worker gets from *destination*; dead letters go to *dead*."""
    worker = Worker(broker.url, concurrency=1, dead_letter=dead, signing_keys=KEYS, max_redeliveries=0)
    payloads: list[Any] = []

    @worker.subscribe(destination, accept=["signed-json"], **more)
    def handle(message: Any) -> None:
        payloads.append(message.payload)

    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert eventually(lambda: worker.is_alive)
        yield payloads
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def eventually(true: Any) -> bool:
    event = threading.Event()
    for _ in range(round(PATIENCE * 50)):
        if true():
            return True
        event.wait(0.02)
    return False


PATHS = [
    *(
        pytest.param(name, sent_to, subscribed, id=f"{name}:{sent_to}->{subscribed}")
        for name in RABBITMQ
        for sent_to, subscribed in (
            ("/queue/N", "/queue/N"),
            ("/queue/für-N", "/queue/für-N"),
            ("/queue/世😀 N", "/queue/世😀 N"),
            ("/queue/a%2FN", "/queue/a%2FN"),
            ("N", "/queue/N"),
            ("/amq/queue/N", "/queue/N"),
            ("/topic/ö.N", "/topic/*.N"),
            ("/exchange/amq.topic/o.N", "/topic/o.#"),
            ("/topic/o.N", "/exchange/amq.topic/o.N"),
            ("/exchange/amq.direct/ü-N", "/exchange/amq.direct/ü-N"),
        )
    ),
    *(
        pytest.param(name, sent_to, subscribed, id=f"{name}:{sent_to}->{subscribed}")
        for name in ACTIVEMQ
        for sent_to, subscribed in (
            ("/queue/für-N", "/queue/für-N"),
            ("/queue/a%2FN", "/queue/a%2FN"),
            ("/topic/VirtualTopic.N", "/queue/Consumer.A.VirtualTopic.N"),
            ("/queue/a-N,b-N", "/queue/b-N"),
            ("/queue/a-N,/topic/b-N", "/topic/b-N"),
            ("/queue/o.N", "/queue/o.>"),
            ("N", "/queue/N"),
        )
    ),
]


@pytest.mark.parametrize(("broker", "sent_to", "subscribed"), PATHS, indirect=["broker"])
class TestRealBrokers:
    def test_a_signed_message_is_read(self, broker, sent_to, subscribed):
        sent_to, subscribed = named(sent_to, subscribed)
        with QueueingDuplexClient.from_url(broker.url) as client:
            client.subscribe(subscribed)
            with Publisher(broker.url, signing_keys=KEYS) as publisher:
                publisher.send(sent_to, {"id": 7}, serializer="signed-json")
            frame = client.receive()
        assert read(frame.body, frame.headers) == {"id": 7}
        assert read(frame.body, frame.headers, sent_to=subscribed) == {"id": 7}

    def test_a_worker_handles_it(self, broker, sent_to, subscribed):
        sent_to, subscribed = named(sent_to, subscribed)
        with (
            handled(broker, subscribed, f"/queue/dead-{uuid.uuid4().hex}") as payloads,
            Publisher(broker.url, signing_keys=KEYS) as publisher,
        ):
            publisher.send(sent_to, {"id": 7}, serializer="signed-json")
            assert eventually(lambda: payloads)
        assert payloads == [{"id": 7}]

    def test_a_copy_in_another_queue_becomes_a_dead_letter(self, broker, sent_to, subscribed):
        sent_to, subscribed = named(sent_to, subscribed)
        other, dead = (f"/queue/{kind}-{uuid.uuid4().hex}" for kind in ("other", "dead"))
        body, headers = signed(sent_to)
        with QueueingDuplexClient.from_url(broker.url) as attacker:
            attacker.subscribe(dead)
            with handled(broker, other, dead) as payloads:
                attacker.send(other, body, headers, confirm=True)
                frame = attacker.receive()
        assert payloads == []
        assert frame.headers[SIGNED_DESTINATION] == sent_to


def named(*destinations: str) -> list[str]:
    name = uuid.uuid4().hex
    return [destination.replace("N", name) for destination in destinations]


class WithComposite(ActiveMQ):
    """ActiveMQ whose configuration forwards the messages of the queue COMPOSITE to the queue MEMBER."""

    def prepare(self) -> None:
        super().prepare()
        configuration = self.directory / "activemq.xml"
        text = configuration.read_text()
        assert "<persistenceAdapter>" in text
        configuration.write_text(text.replace("<persistenceAdapter>", f"{_COMPOSITE}<persistenceAdapter>", 1))


_COMPOSITE = (
    "<destinationInterceptors><virtualDestinationInterceptor><virtualDestinations>"
    '<compositeQueue name="COMPOSITE"><forwardTo><queue physicalName="MEMBER"/></forwardTo></compositeQueue>'
    "</virtualDestinations></virtualDestinationInterceptor></destinationInterceptors>"
)


@pytest.fixture(scope="module")
def composite(pytestconfig: pytest.Config) -> Iterator[WithComposite]:
    missing = WithComposite.missing()
    if missing is not None:
        if pytestconfig.option.require_brokers:
            pytest.fail(missing)
        pytest.skip(missing)
    if pytestconfig.option.no_brokers:
        pytest.skip("it starts a broker")
    broker = WithComposite()
    broker.start()
    yield broker
    broker.close()


class TestCompositeQueue:
    """ActiveMQ 5.17 names the origin in ``original-destination``, a header that a sender can write as well."""

    def test_a_worker_reads_what_the_broker_forwards_if_it_names_the_origin(self, composite):
        with (
            handled(composite, "/queue/MEMBER", "/queue/dead", sent_to="/queue/COMPOSITE") as payloads,
            Publisher(composite.url, signing_keys=KEYS) as publisher,
        ):
            publisher.send("/queue/COMPOSITE", {"id": 7}, serializer="signed-json")
            assert eventually(lambda: payloads)
        assert payloads == [{"id": 7}]

    def test_a_header_of_the_sender_is_no_proof(self, composite):
        body, headers = signed("/queue/other")
        with QueueingDuplexClient.from_url(composite.url) as attacker:
            attacker.subscribe("/queue/dead")
            with handled(composite, "/queue/MEMBER", "/queue/dead") as payloads:
                attacker.send("/queue/MEMBER", body, {**headers, "original-destination": "/queue/other"}, confirm=True)
                assert attacker.receive() is not None
        assert payloads == []
