"""The contract, destinations: the development broker does with each destination what the broker that it plays does.

Each case runs against a real broker, and against a development broker that bears its name. The development broker may
differ in one way: it refuses, with a reason, a message that the real broker confirms and that no receiver gets, and a
destination that it does not serve (`REFUSED_HERE`).
"""

from __future__ import annotations

import dataclasses
import urllib.parse
import uuid
from typing import TYPE_CHECKING

import pytest

from stomp_web import ConnectionLost, PublishClient, QueueingDuplexClient, Rejected
from stomp_web.broker import Broker
from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.running import RunningBroker

# What a subscriber reads, if there is one; where the message is sent, if one is. {u} is another name each time.
RABBITMQ = [
    (None, "/queue/a{u}"),
    (None, "a{u}"),
    (None, "queue/a{u}"),
    (None, "/bogus/x"),
    (None, "/bogus"),
    (None, "/"),
    (None, "//x"),
    (None, "/queue"),
    (None, "/queue/"),
    (None, "/queue/a/b{u}"),
    (None, "/queue/a%2Fb{u}"),
    (None, "/topic"),
    (None, "/topic/"),
    (None, "/topic/a/b{u}"),
    (None, "/topic/a{u}"),
    (None, "/amq/queue/"),
    (None, "/amq/topic/x"),
    (None, "/amq/queue/missing{u}"),
    (None, "/exchange"),
    (None, "/exchange/"),
    (None, "/exchange/missing/a"),
    (None, "/exchange/amq.topic"),
    (None, "/exchange/amq.topic/a.b"),
    (None, "/exchange/amq.topic/a/b"),
    (None, "/exchange/amq.direct/nobody{u}"),
    (None, "/temp-queue/x"),
    (None, "/temp-topic/x"),
    (None, "/reply-queue/missing{u}"),
    ("/bogus/x", None),
    ("/", None),
    ("/queue/", None),
    ("/queue/a/b", None),
    ("/amq/queue/missing{u}", None),
    ("/exchange/missing/a", None),
    ("/exchange/amq.topic", None),
    ("/temp-queue/x", None),
    ("/temp-topic/x", None),
    ("/queue/q{u}", "/queue/q{u}"),
    ("/queue/q{u}", "/amq/queue/q{u}"),
    ("/queue/q{u}", "q{u}"),
    ("q{u}", "/queue/q{u}"),
    ("/queue/q*{u}", "/queue/qa{u}"),
    ("/queue/a%2Fb{u}", "/queue/a%2fb{u}"),
    ("/queue/für {u}", "/queue/für {u}"),
    ("/topic/o{u}.*", "/topic/o{u}.eu"),
    ("/topic/o{u}.*", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.*", "/topic/o{u}"),
    ("/topic/o{u}.*", "/topic/o{u}.*"),
    ("/topic/o{u}.a", "/topic/o{u}.*"),
    ("/topic/o{u}.#", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.#", "/topic/o{u}"),
    ("/topic/#.o{u}", "/topic/a.b.o{u}"),
    ("/topic/#.o{u}.#.x", "/topic/a.o{u}.b.c.x"),
    ("/topic/*.o{u}", "/topic/.o{u}"),
    ("/topic/o{u}*", "/topic/o{u}x"),
    ("/topic/o{u}.>", "/topic/o{u}.a"),
    ("/topic/o{u}.>", "/topic/o{u}.>"),
    ("/topic/o{u}.x", "/exchange/amq.topic/o{u}.x"),
    ("/exchange/amq.topic/o{u}.*", "/topic/o{u}.eu"),
    ("/exchange/amq.topic/o{u}.*", "/exchange/amq.topic/o{u}.eu"),
    ("/exchange/amq.topic/o{u}.#", "/exchange/amq.topic/o{u}.a.b"),
    ("/exchange/amq.direct/k{u}", "/exchange/amq.direct/k{u}"),
    ("/exchange/amq.direct/k{u}", "/exchange/amq.direct/other{u}"),
    ("/exchange/amq.direct/*", "/exchange/amq.direct/k{u}"),
    ("/exchange/amq.fanout", "/exchange/amq.fanout/k{u}"),
    ("/exchange/amq.fanout/a", "/exchange/amq.fanout/b"),
    ("/exchange/amq.headers/a", "/exchange/amq.headers/b"),
]

ACTIVEMQ = [
    (None, "/queue/a{u}"),
    (None, "a{u}"),
    (None, "/bogus/{u}"),
    (None, "/"),
    (None, "/queue"),
    (None, "/queue/"),
    (None, "/topic/"),
    (None, "/topic/a{u}"),
    (None, "/exchange/amq.topic/a{u}"),
    (None, "/reply-queue/x{u}"),
    (None, "/temp-queue/x{u}"),
    (None, "/remote-temp-queue/x{u}"),
    ("a{u}", "/queue/a{u}"),
    ("/queue/a{u}", "a{u}"),
    ("/bogus/{u}", "/bogus/{u}"),
    ("/bogus/{u}", "/queue//bogus/{u}"),
    ("/bogus/{u}", "/queue/bogus/{u}"),
    ("/topic/o{u}.*", "/topic/o{u}.eu"),
    ("/topic/o{u}.*", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.*", "/topic/o{u}"),
    ("/topic/*.o{u}", "/topic/a.o{u}"),
    ("/topic/o{u}.>", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.>", "/topic/o{u}"),
    ("/topic/o{u}.*.>", "/topic/o{u}.a.b.c"),
    ("/topic/o{u}.>.z", "/topic/o{u}.a.z"),
    ("/topic/o{u}.#", "/topic/o{u}.a"),
    ("/topic/o{u}*", "/topic/o{u}x"),
    ("/topic/o{u}.a", "/topic/o{u}.*"),
    ("/topic/o{u}.a", "/topic/o{u}.>"),
    ("/topic/>", "/topic/o{u}"),
    ("/queue/o{u}.*", None),
    ("/queue/o{u}.>", None),
    ("/queue/a{u},/queue/b{u}", None),
    ("/queue/Consumer.a.VirtualTopic.t{u}", None),
    (None, "/queue/o{u}.*"),
    (None, "/queue/a{u},/queue/b{u}"),
]

# Artemis's ``activemq.notifications`` sends to /topic/# as well; ``a`` and ``/queue/a`` meet in one direction only.
ARTEMIS = [
    (None, "/queue/a{u}"),
    (None, "a{u}"),
    (None, "/bogus/{u}"),
    (None, "/queue/"),
    ("/queue/a{u}", "/queue/a{u}"),
    ("a{u}", "a{u}"),
    ("a{u}", "/queue/a{u}"),
    ("/bogus/{u}", "/bogus/{u}"),
    ("/topic/a{u}", "/topic/a{u}"),
    ("/topic/o{u}.*", "/topic/o{u}.eu"),
    ("/topic/o{u}.*", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.#", "/topic/o{u}.eu.de"),
    ("/topic/o{u}.#", "/topic/o{u}"),
    ("/topic/#.o{u}", "/topic/a.o{u}"),
    ("/topic/o{u}.>", "/topic/o{u}.a"),
    ("/queue/o{u}.*", None),
    (None, "/queue/o{u}.#"),
]

# At the beginning of what the development broker says of a message that RabbitMQ confirms and drops.
DROPPED = "RabbitMQ would confirm this message and drop it"
REFUSED_HERE = "the development broker does not support"
CLOSED = "the connection was closed"


@dataclasses.dataclass
class Outcome:
    """What became of one case: a refusal in the broker's words, or where the message arrived."""

    refusal: str | None = None
    arrived_as: str | None = None


def outcome(url: str, subscribed: str | None, sent: str | None, *, arrives: bool = False) -> Outcome:
    """Subscribe and send, with a name of its own. A second message, which certainly comes, says that all has been sent.

    Behind another queue the first one may be a moment later; if it is to arrive (*arrives*), it is waited for.
    """
    unique = uuid.uuid4().hex
    end = f"/queue/end-{unique}"
    options = {"timeout": PATIENCE}
    with QueueingDuplexClient.from_url(url, **options) as reader, PublishClient.from_url(url, **options) as writer:
        try:
            if subscribed is not None:
                reader.connect()
                reader.subscribe(subscribed.replace("{u}", unique), id="subject")
                reader.subscribe(end, id="end")
            if sent is not None:
                writer.send(sent.replace("{u}", unique), "x", confirm=True)
        except (Rejected, ConnectionLost) as error:
            frame = getattr(error, "frame", None)
            words = CLOSED if frame is None else f"{frame.headers['message']}: {frame.body.decode()}"
            return Outcome(words.replace(unique, "{u}"))
        if subscribed is None or sent is None:
            return Outcome()
        writer.send(end, "end", confirm=True)
        arrived, ended = None, False
        while not ended or (arrives and arrived is None):
            frame = reader.receive(PATIENCE)
            if frame is None:
                assert ended, "the end did not arrive"
                break
            if frame.headers["subscription"] == "end":
                ended = True
            else:
                arrived = urllib.parse.unquote(frame.headers["destination"]).replace(unique, "{u}")
        return Outcome(arrived_as=arrived)


@pytest.fixture
def played(broker: RunningBroker) -> Iterator[Broker]:
    """The development broker under the name of the real one."""
    with Broker(server=broker.version, keep_open_after_error=True) as played:
        yield played


def check(broker: RunningBroker, played: Broker, subscribed: str | None, sent: str | None) -> None:
    here = outcome(played.url, subscribed, sent)
    real = outcome(broker.url, subscribed, sent, arrives=here.arrived_as is not None)
    if here.refusal is not None and real.refusal is None:
        if DROPPED in here.refusal:
            assert real.arrived_as is None, "the real broker delivers this message"
        else:
            assert REFUSED_HERE in here.refusal, here
    elif real.refusal is None:
        assert here == real
    elif real.refusal != CLOSED:
        assert here.refusal is not None, f"the real broker says {real.refusal!r}"
        said = real.refusal.partition("\n")[0]
        assert here.refusal.startswith(said) or REFUSED_HERE in here.refusal, (said, here)
    else:
        assert here.refusal is not None


@pytest.mark.parametrize("broker", ["rabbitmq", "rabbitmq4"], indirect=True)
@pytest.mark.parametrize(("subscribed", "sent"), RABBITMQ)
def test_a_destination_means_what_it_means_at_rabbitmq(
    broker: RunningBroker, played: Broker, subscribed: str | None, sent: str | None
) -> None:
    check(broker, played, subscribed, sent)


@pytest.mark.parametrize("broker", ["activemq", "activemq6"], indirect=True)
@pytest.mark.parametrize(("subscribed", "sent"), ACTIVEMQ)
def test_a_destination_means_what_it_means_at_activemq(
    broker: RunningBroker, played: Broker, subscribed: str | None, sent: str | None
) -> None:
    check(broker, played, subscribed, sent)


@pytest.mark.parametrize("broker", ["artemis"], indirect=True)
@pytest.mark.parametrize(("subscribed", "sent"), ARTEMIS)
def test_a_destination_means_what_it_means_at_artemis(
    broker: RunningBroker, played: Broker, subscribed: str | None, sent: str | None
) -> None:
    check(broker, played, subscribed, sent)


@pytest.mark.parametrize("broker", ["rabbitmq", "rabbitmq4"], indirect=True)
def test_an_answer_comes_to_the_session_that_asked_with_a_temporary_queue(
    broker: RunningBroker, played: Broker
) -> None:
    for url in (broker.url, played.url):
        service = f"/queue/service-{uuid.uuid4().hex}"
        with (
            QueueingDuplexClient.from_url(url, timeout=PATIENCE) as server,
            QueueingDuplexClient.from_url(url, timeout=PATIENCE) as asker,
        ):
            server.subscribe(service)
            for question in ("one", "two"):
                asker.send(service, question, {"reply-to": "/temp-queue/answers"}, confirm=True)
                asked = server.receive(PATIENCE)
                assert asked is not None
                assert asked.headers["reply-to"].startswith("/reply-queue/")
                server.send(asked.headers["reply-to"], f"{question}!", confirm=True)
                answer = asker.receive(PATIENCE)
                assert answer is not None
                assert (answer.body.decode(), answer.headers["subscription"]) == (f"{question}!", "/temp-queue/answers")
            with pytest.raises(Rejected, match="Invalid id"):
                asker.unsubscribe("/temp-queue/answers")
