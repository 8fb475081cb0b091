"""The contract, receiving: what our receivers do with a message is what the broker understands.

The other side is stomp.py, which sends, and which reads afterwards what is left. Whether a broker believes that a
message was taken shows only when the receiver is gone: what it did not acknowledge is there for the next one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from stomp_web import (
    ConnectionLost,
    Message,
    NotSent,
    PublishSubscribeClient,
    QueueingDuplexClient,
    Rejected,
    StompError,
)
from stomp_web.connection.dialect import choose_dialect
from tests.brokers.foreign import PATIENCE, ForeignClient, ForeignError
from tests.brokers.traits import needs
from tests.client.scripted import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web import Frame
    from tests.brokers.running import RunningBroker
    from tests.brokers.traits import Refusal

HEART_BEATS = (1000, 1000)

IDLE = 4.0
"""Seconds of silence. RabbitMQ/3.10.8 and ActiveMQ/5.17.2 close after 3 s where a beat was promised every second."""

VERSIONS = ["1.0", "1.1", "1.2"]

MODES = [
    ("1.0", "client"),
    ("1.1", "client"),
    ("1.2", "client"),
    ("1.1", "client-individual"),
    ("1.2", "client-individual"),
]
"""STOMP 1.0 has no client-individual."""


def options_for(broker: RunningBroker, version: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if version is not None:
        needs(broker, "versions", version)
    return {"versions": (version or broker.traits.versions[-1],), "timeout": PATIENCE, **options}


def receiver(broker: RunningBroker, version: str | None = None, **options: Any) -> QueueingDuplexClient:
    """Our client, not connected yet. It speaks *version*, or the highest that works at this broker."""
    return QueueingDuplexClient.from_url(broker.url, **options_for(broker, version, options))


@contextmanager
def dying(client: QueueingDuplexClient) -> Iterator[QueueingDuplexClient]:
    """The client, connected. When the block ends it is gone without a word: no DISCONNECT, only a closed socket."""
    with closing(client):
        client.connect()
        yield client


def refusals_of(broker: RunningBroker) -> list[Refusal]:
    refusals = broker.refusals()
    if not refusals:
        pytest.skip(f"{broker}: refuses nothing (see its refusals)")
    return refusals


def take(client: QueueingDuplexClient) -> Frame:
    """The next message; it must come."""
    frame = client.receive(PATIENCE)
    assert frame is not None, "no message came"
    return frame


def again(frame: Frame) -> bool:
    """Whether the message says that it was delivered before."""
    return frame.headers.get("redelivered") == "true"


def send_three(writer: ForeignClient, destination: str) -> None:
    for body in ("one", "two", "three"):
        writer.send(destination, body)


def what_is_left(broker: RunningBroker, writer: ForeignClient, destination: str) -> list[tuple[bytes, bool]]:
    """The messages still in the queue, and for each whether it says that it is delivered again."""
    writer.send(destination, "the end")
    left = []
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        while (message := reader.get()).body != b"the end":
            left.append((message.body, message.headers.get("redelivered") == "true"))
    return left


def left_behind(broker: RunningBroker, *bodies: bytes) -> list[tuple[bytes, bool]]:
    """What is left of the messages with these *bodies*, which a client had when it went, without an answer to them."""
    traits = broker.traits
    return [
        (body, traits.says_redelivered and (traits.says_of_all_that_were_left or position == 0))
        for position, body in enumerate(bodies)
    ]


class Loop:
    """`listen_forever` in a thread, and what it raised."""

    def __init__(self, client: QueueingDuplexClient) -> None:
        self.client = client
        self.error: StompError | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert client.listening_event.wait(PATIENCE), f"the loop does not run: {self.error}"

    def run(self) -> None:
        try:
            self.client.listen_forever()
        except StompError as error:
            self.error = error

    def ended(self, within: float = PATIENCE) -> bool:
        """Wait for the end of the loop; False when it still runs after that many seconds."""
        self.thread.join(within)
        return not self.thread.is_alive()


@contextmanager
def listening(client: QueueingDuplexClient) -> Iterator[Loop]:
    """The client's loop runs while the block does."""
    loop = Loop(client)
    try:
        yield loop
    finally:
        client.shutdown_event.set()
        assert loop.ended(2 * PATIENCE)  # its DISCONNECT may wait for a receipt
        client.close()


@pytest.fixture
def writer(broker: RunningBroker) -> Iterator[ForeignClient]:
    """A foreign client that sends, each time with a receipt."""
    with ForeignClient(broker) as writer:
        yield writer


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[QueueingDuplexClient]:
    """Our client, connected; nobody runs its loop."""
    with receiver(broker) as client:
        yield client


# Acknowledging.


@pytest.mark.parametrize("version", VERSIONS)
def test_ack_auto_takes_what_was_delivered(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    send_three(writer, destination)
    with receiver(broker, version) as client:
        assert client.version == version
        client.subscribe(destination)
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
    assert what_is_left(broker, writer, destination) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_ack_client_takes_all_messages_up_to_the_one_named(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "many_unacknowledged")
    send_three(writer, destination)
    with receiver(broker, version) as client:
        client.subscribe(destination, ack="client")
        _, two, _ = [take(client) for _ in range(3)]
        client.ack(two)
    assert what_is_left(broker, writer, destination) == [(b"three", True)]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_ack_client_individual_takes_just_the_one_named(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "ack_modes", "client-individual")
    send_three(writer, destination)
    with receiver(broker, version) as client:
        client.subscribe(destination, ack="client-individual")
        _, two, _ = [take(client) for _ in range(3)]
        client.ack(two)
    assert what_is_left(broker, writer, destination) == left_behind(broker, b"one", b"three")


@pytest.mark.parametrize(("version", "mode"), MODES)
def test_messages_acknowledged_one_after_the_other_are_gone(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str, mode: str
) -> None:
    needs(broker, "ack_versions", version)
    needs(broker, "ack_modes", mode)
    send_three(writer, destination)
    with receiver(broker, version) as client:
        client.subscribe(destination, ack=mode)
        for body in (b"one", b"two"):
            frame = take(client)
            assert frame.body == body
            client.ack(frame)
    assert [body for body, _ in what_is_left(broker, writer, destination)] == [b"three"]


@pytest.mark.parametrize(("version", "mode"), MODES)
def test_what_was_not_acknowledged_comes_again_and_says_so(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str, mode: str
) -> None:
    needs(broker, "ack_versions", version)
    needs(broker, "ack_modes", mode)
    writer.send(destination, "message")
    with receiver(broker, version) as careless:
        careless.subscribe(destination, ack=mode)
        first = take(careless)
        assert first.body == b"message"
        assert not again(first)
    with receiver(broker, version) as careful:
        careful.subscribe(destination, ack=mode)
        second = take(careful)
        assert second.body == b"message"
        assert again(second) == broker.traits.says_redelivered
        careful.ack(second)
    assert what_is_left(broker, writer, destination) == []


def test_what_a_client_did_not_acknowledge_goes_to_another_one_when_it_leaves(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    writer.send(destination, "message")
    with receiver(broker) as other:
        with receiver(broker) as one:
            one.subscribe(destination, ack="client")
            assert take(one).body == b"message"
            other.subscribe(destination, ack="client")
        writer.send(destination, "the next")  # CoilMQ/1.1.0 looks at what came back only now
        frames = [take(other)]
        other.ack(frames[0])
        frames.append(take(other))
        other.ack(frames[1])
    assert sorted(frame.body for frame in frames) == [b"message", b"the next"]
    assert what_is_left(broker, writer, destination) == []


# Refusing.


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_nack_gives_the_message_back_or_makes_it_a_dead_letter(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "nacks")
    unwanted = f"unwanted-{uuid.uuid4()}".encode()
    writer.send(destination, unwanted, {"persistent": "true"})
    with receiver(broker, version) as client, receiver(broker) as finder:
        client.subscribe(destination, ack="client-individual")
        client.nack(take(client))
        client.disconnect()
        if broker.traits.nack_drops:
            assert what_is_left(broker, writer, destination) == []
            return
        found_at = broker.traits.nacked_to or destination
        finder.subscribe(found_at, ack="client-individual")
        while (frame := take(finder)).body != unwanted:  # a queue of dead letters may hold those of other tests
            pass
        finder.ack(frame)
    left = what_is_left(broker, writer, destination)
    assert left == []


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_message_that_was_given_back_comes_again_to_the_same_subscription(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "nacks")
    if broker.traits.nacked_to is not None or broker.traits.nack_drops:
        pytest.skip(f"{broker}: a NACK does not give back (see its traits)")
    writer.send(destination, "message")
    with receiver(broker, version) as client:
        client.subscribe(destination, ack="client-individual")
        first = take(client)
        client.nack(first)
        second = take(client)
        assert (first.body, again(first)) == (b"message", False)
        assert (second.body, again(second)) == (b"message", True)
        client.ack(second)
    assert what_is_left(broker, writer, destination) == []


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_nack_without_requeue_takes_the_message_out_of_its_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "nacks")
    send_three(writer, destination)
    with receiver(broker, version) as client:
        client.subscribe(destination, ack="client-individual")
        _, two, _ = [take(client) for _ in range(3)]
        client.nack(two, headers={"requeue": "false"})
    assert what_is_left(broker, writer, destination) == left_behind(broker, b"one", b"three")


# Names with special characters.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["orders:north", ":orders::", "with spaces in it", "größe 世😀"])
def test_a_subscription_of_such_a_name_is_acknowledged_and_ended(
    broker: RunningBroker, writer: ForeignClient, destination: str, name: str, version: str
) -> None:
    needs(broker, "ack_versions", version)
    writer.send(destination, "one")
    writer.send(destination, "two")
    with receiver(broker, version) as client:
        assert client.subscribe(destination, id=name, ack="client") == name
        for body in (b"one", b"two"):
            frame = take(client)
            assert frame.body == body
            if version != "1.0":  # RabbitMQ/3.10.8 escapes the colon for 1.0 as well, which has no escapes
                assert frame.headers["subscription"] == name
            client.ack(frame)
        client.unsubscribe(name, headers={"destination": destination})
        writer.send(destination, "three")
        assert what_is_left(broker, writer, destination) == [(b"three", False)]
        assert client.message_queue.empty()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_id_with_colons_is_unescaped_once_and_escaped_once_for_its_ack(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "ack_modes", "client-individual")
    needs(broker, "colons_in_ids")
    send_three(writer, destination)
    with receiver(broker, version) as client:
        # RabbitMQ/3.10.8 puts the subscription into its ids, ActiveMQ/5.17.2 has colons there anyway.
        client.subscribe(destination, id="a:b", ack="client-individual")
        _, two, _ = [take(client) for _ in range(3)]
        named = two.headers["ack" if version == "1.2" else "message-id"]
        assert ":" in named
        assert "\\" not in named
        client.ack(two)
    assert what_is_left(broker, writer, destination) == left_behind(broker, b"one", b"three")


# What a SUBSCRIBE may ask for.


def test_a_selector_leaves_the_other_messages_in_the_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "selectors")
    for body, colour in (("one", "red"), ("two", "blue"), ("three", "red")):
        writer.send(destination, body, {"colour": colour})
    with receiver(broker) as client:
        client.subscribe(destination, ack="client-individual", headers={"selector": "colour = 'red'"})
        for wanted in (b"one", b"three"):
            frame = take(client)
            assert frame.body == wanted
            client.ack(frame)
    assert what_is_left(broker, writer, destination) == [(b"two", False)]


def test_a_selector_may_have_what_must_be_escaped(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    needs(broker, "selectors")
    colour = "dark: r\\ed\nor größer"
    client.subscribe(destination, headers={"selector": f"colour = '{colour}'"})
    writer.send(destination, "other", {"colour": "dark"})
    writer.send(destination, "this one", {"colour": colour})
    assert take(client).body == b"this one"


def test_with_a_prefetch_of_one_a_second_receiver_gets_the_rest(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    headers = choose_dialect(client.server).prefetch(1)
    assert headers
    send_three(writer, destination)
    client.subscribe(destination, ack="client", headers=headers)
    first = take(client)
    with ForeignClient(broker) as other:
        other.subscribe(destination)
        rest = [other.get().body for _ in range(2)]
    assert first.body == b"one"
    assert rest == [b"two", b"three"]
    client.ack(first)
    client.disconnect()
    assert what_is_left(broker, writer, destination) == []


def test_with_a_prefetch_of_one_an_ack_brings_the_next_message(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    headers = choose_dialect(client.server).prefetch(1)
    assert headers
    send_three(writer, destination)
    client.subscribe(destination, ack="client", headers=headers)
    for body in (b"one", b"two", b"three"):
        frame = take(client)
        assert frame.body == body
        assert client.message_queue.empty()
        client.ack(frame)
    client.disconnect()
    assert what_is_left(broker, writer, destination) == []


# Transactions.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_commit_takes_the_message_and_delivers_the_answer(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "acks_in_transactions")
    needs(broker, "ack_versions", version)
    questions = f"{destination}-questions"
    writer.send(questions, "question")
    with receiver(broker, version) as client:
        client.subscribe(questions, ack="client")
        with client.transaction() as transaction:
            client.ack(take(client), transaction=transaction.id)
            transaction.send(destination, b"answer")
            client.send(destination, b"outside", confirm=True)
            assert inbox.get().body == b"outside"  # nothing of the transaction came before it
        assert inbox.get().body == b"answer"
    assert what_is_left(broker, writer, questions) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_whose_ack_was_aborted_can_be_acknowledged_afterwards(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "acks_in_transactions")
    needs(broker, "ack_versions", version)
    questions = f"{destination}-questions"
    writer.send(questions, "question")
    with receiver(broker, version) as client:
        client.subscribe(questions, ack="client")
        frame = take(client)
        transaction = client.begin()
        client.ack(frame, transaction=transaction)
        client.send(destination, b"answer", transaction=transaction)
        client.abort(transaction)
        client.ack(frame)
        client.send(destination, b"afterwards", confirm=True)
    assert inbox.get().body == b"afterwards"
    assert what_is_left(broker, writer, questions) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_whose_ack_was_aborted_comes_again(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "acks_in_transactions")
    needs(broker, "ack_versions", version)
    writer.send(destination, "question")
    with receiver(broker, version) as client:
        client.subscribe(destination, ack="client")
        transaction = client.begin()
        client.ack(take(client), transaction=transaction)
        client.abort(transaction)
    assert what_is_left(broker, writer, destination) == [(b"question", broker.traits.says_redelivered)]


def test_an_exception_in_a_transactions_block_leaves_message_and_answer_undone(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "acks_in_transactions")
    questions = f"{destination}-questions"
    writer.send(questions, "question")

    def answer_and_fail(client: QueueingDuplexClient) -> None:
        with client.transaction() as transaction:
            client.ack(take(client), transaction=transaction.id)
            transaction.send(destination, b"answer")
            raise LookupError("the caller's own")

    with receiver(broker) as client:
        client.subscribe(questions, ack="client")
        with pytest.raises(LookupError, match="own"):
            answer_and_fail(client)
        client.send(destination, b"afterwards", confirm=True)
    assert inbox.get().body == b"afterwards"
    assert what_is_left(broker, writer, questions) == [(b"question", broker.traits.says_redelivered)]


def test_a_client_that_is_gone_in_an_open_transaction_has_done_nothing(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "acks_in_transactions")
    questions = f"{destination}-questions"
    writer.send(questions, "question")
    with dying(receiver(broker)) as client:
        client.subscribe(questions, ack="client")
        transaction = client.begin()
        client.ack(take(client), transaction=transaction)
        client.send(destination, b"answer", transaction=transaction)
        client.send(f"{destination}-other", b"the broker has read the rest", confirm=True)
    with receiver(broker) as successor:
        successor.subscribe(questions, ack="client")
        writer.send(questions, "the next")  # CoilMQ/1.1.0 looks at what came back only now
        bodies = []
        for _ in range(2):
            frame = take(successor)
            bodies.append(frame.body)
            successor.ack(frame)
    assert sorted(bodies) == [b"question", b"the next"]
    writer.send(destination, "afterwards")
    assert inbox.get().body == b"afterwards"


def test_a_refused_answer_makes_the_commit_fail_in_the_brokers_words(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    def answer(client: QueueingDuplexClient, refusal: Refusal) -> None:
        with client.transaction() as transaction:
            if broker.traits.acks_in_transactions:
                client.ack(take(client), transaction=transaction.id)
            transaction.send(refusal.destination, b"refused answer")

    for refusal in refusals_of(broker):
        writer.send(destination, "question")
        with dying(QueueingDuplexClient.from_url(refusal.url)) as client:
            client.subscribe(destination, ack="client")
            # ActiveMQ 5.17 sometimes answers the COMMIT ("marked rollback only") before the refused SEND.
            with pytest.raises(Rejected, match=f"{refusal.words}|rollback"):
                answer(client, refusal)


def test_a_refusal_that_came_before_the_commit_is_what_the_commit_raises(broker: RunningBroker) -> None:
    refusal = refusals_of(broker)[0]
    with dying(QueueingDuplexClient.from_url(refusal.url)) as client:
        loop = Loop(client)
        transaction = client.begin()
        client.send(refusal.destination, b"refused", transaction=transaction)
        assert loop.ended()  # by the ERROR
        with pytest.raises(Rejected, match=refusal.words):
            client.commit(transaction)


# Durable subscriptions.


class Subscriber:
    """Somebody with a durable subscription to a topic, who comes and goes."""

    def __init__(self, broker: RunningBroker, topic: str) -> None:
        needs(broker, "durable")
        assert broker.traits.durable is not None
        self.broker = broker
        self.topic = topic
        self.name = f"durable-{uuid.uuid4().hex}"
        self.way = broker.traits.durable.named(self.name)

    @contextmanager
    def here(self, ack: str = "auto") -> Iterator[QueueingDuplexClient]:
        """The client of the subscriber, subscribed while the block runs."""
        with receiver(self.broker, connect_headers=self.way.connect) as client:
            client.subscribe(self.topic, id=self.name, ack=ack, headers=self.way.subscribe)
            yield client

    def leave_for_good(self, client: QueueingDuplexClient) -> None:
        for headers in self.way.unsubscribe:
            client.unsubscribe(self.name, headers=headers)


@pytest.fixture
def topic() -> str:
    return f"/topic/contract-{uuid.uuid4().hex}"


@pytest.fixture
def subscriber(broker: RunningBroker, topic: str) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, topic)
    yield subscriber
    with subscriber.here() as client:
        subscriber.leave_for_good(client)


def test_a_durable_subscriber_gets_what_was_sent_while_he_was_away(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here():
        pass
    send_three(writer, topic)
    with subscriber.here() as client:
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
        writer.send(topic, "four")
        assert take(client).body == b"four"


def test_a_durable_subscriber_does_not_get_twice_what_he_has_acknowledged(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here():
        pass
    send_three(writer, topic)
    with subscriber.here(ack="client") as client:
        frames = [take(client) for _ in range(3)]
        client.ack(frames[1])
    with subscriber.here(ack="client") as client:
        last = take(client)
        assert last.body == b"three"  # ActiveMQ/5.17.2 does not say of a topic's message that it comes again
        client.ack(last)


def test_after_a_durable_subscriber_has_left_for_good_nothing_is_kept_for_him(
    subscriber: Subscriber, writer: ForeignClient, topic: str
) -> None:
    with subscriber.here() as client:
        subscriber.leave_for_good(client)
    writer.send(topic, "unheard")
    with subscriber.here() as client:
        writer.send(topic, "heard")
        assert take(client).body == b"heard"


# Receivers that are gone without a word, and brokers.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_that_breaks_loses_no_message(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "many_unacknowledged")
    send_three(writer, destination)
    with dying(receiver(broker, version)) as client:
        client.subscribe(destination, ack="client")
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
    with receiver(broker, version) as successor:
        successor.subscribe(destination, ack="client")
        frames = [take(successor) for _ in range(3)]
        assert [frame.body for frame in frames] == [b"one", b"two", b"three"]
        assert again(frames[0])
        if broker.traits.says_of_all_that_were_left:
            assert all(map(again, frames))
        successor.ack(frames[-1])
    assert what_is_left(broker, writer, destination) == []


def test_what_was_acknowledged_before_the_connection_broke_does_not_come_again(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    send_three(writer, destination)
    with dying(receiver(broker)) as client:
        client.subscribe(destination, ack="client")
        for _ in range(2):
            client.ack(take(client))
        assert take(client).body == b"three"
        client.send(f"{destination}-other", b"the broker has read the ACKs", confirm=True)
    with receiver(broker) as successor:
        successor.subscribe(destination, ack="client")
        writer.send(destination, "four")  # CoilMQ/1.1.0 looks at what came back only now
        bodies = []
        for _ in range(2):
            frame = take(successor)
            bodies.append(frame.body)
            successor.ack(frame)
    assert sorted(bodies) == [b"four", b"three"]
    assert what_is_left(broker, writer, destination) == []


def test_an_ack_of_a_message_of_an_earlier_session_is_not_sent(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    writer.send(destination, "message")
    with closing(receiver(broker)) as client:
        client.connect()
        client.subscribe(destination, id="mine", ack="client")
        earlier = take(client)
        client.disconnect()
        client.connect()
        client.subscribe(destination, id="mine", ack="client")
        later = take(client)
        assert later.body == earlier.body
        with pytest.raises(NotSent):
            client.ack(earlier)
        client.ack(later)
        client.disconnect()
    assert what_is_left(broker, writer, destination) == []


def test_an_error_frame_ends_the_loop_and_wakes_who_waits_with_the_brokers_words(broker: RunningBroker) -> None:
    for refusal in refusals_of(broker):
        with dying(QueueingDuplexClient.from_url(refusal.url)) as client:
            loop = Loop(client)
            client.send(refusal.destination, b"refused", confirm=False)
            with pytest.raises(Rejected, match=refusal.words):
                client.message_queue.get(timeout=PATIENCE)
            assert loop.ended()
            assert isinstance(loop.error, Rejected)
            assert client.error_queue.get(timeout=PATIENCE).command == "ERROR"


def test_what_a_killed_broker_had_delivered_comes_again_after_its_restart(
    broker: RunningBroker, destination: str
) -> None:
    needs(broker, "keeps_on_disk")
    with receiver(broker) as client:
        client.subscribe(destination)
    # RabbitMQ/3.10.8 forgets one in forty queues that were made just before it was killed, with what was in them.
    broker.restart()
    with ForeignClient(broker) as writer:
        for body in ("one", "two", "three"):
            writer.send(destination, body, {"persistent": "true"})
    with dying(receiver(broker)) as client:
        client.subscribe(destination, ack="client-individual")
        assert [take(client).body for _ in range(3)] == [b"one", b"two", b"three"]
        broker.kill()
        with pytest.raises(ConnectionLost):
            client.receive(PATIENCE)
        broker.start()
        client.connect()  # a new session of the same client: the old subscription is gone
        client.subscribe(destination, ack="client-individual")
        frames = [take(client) for _ in range(3)]
        assert [frame.body for frame in frames] == [b"one", b"two", b"three"]
        assert {again(frame) for frame in frames} == {broker.traits.remembers_deliveries}
        for frame in frames:
            client.ack(frame)
        client.disconnect()
    with ForeignClient(broker) as writer:
        assert what_is_left(broker, writer, destination) == []


def test_a_lost_connection_ends_the_loop_with_connection_lost(broker: RunningBroker, destination: str) -> None:
    with dying(receiver(broker)) as client:
        client.subscribe(destination)
        loop = Loop(client)
        broker.kill()
        assert loop.ended()
        assert isinstance(loop.error, ConnectionLost)
        assert not client.connected


def test_a_lost_connection_wakes_everybody_who_waits_for_a_message(broker: RunningBroker, destination: str) -> None:
    with dying(receiver(broker)) as client:
        client.subscribe(destination)
        loop = Loop(client)
        ready = threading.Barrier(4)

        def wait() -> Frame:
            ready.wait(PATIENCE)
            return client.message_queue.get(timeout=2 * PATIENCE)

        with ThreadPoolExecutor(3) as threads:
            waiting = [threads.submit(wait) for _ in range(3)]
            ready.wait(PATIENCE)
            broker.kill()
            for one in waiting:
                with pytest.raises(ConnectionLost):
                    one.result(PATIENCE)
        assert loop.ended()


# The loop in its thread, and others beside it.


def test_what_other_threads_send_while_the_loop_runs_arrives_once(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    client = receiver(broker)

    def send_some(thread: int) -> None:
        for number in range(25):
            client.send(destination, f"{thread}-{number}", confirm=number % 5 == 0)

    with listening(client), ThreadPoolExecutor(4) as threads:
        for sending in [threads.submit(send_some, thread) for thread in range(4)]:
            sending.result(PATIENCE)
        arrived = [inbox.get().body.decode() for _ in range(100)]
    assert sorted(arrived) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(25))
    for thread in range(4):  # and each thread's in its order
        mine = [body for body in arrived if body.startswith(f"{thread}-")]
        assert mine == [f"{thread}-{number}" for number in range(25)]


def test_messages_are_received_and_answered_while_the_loop_runs(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    questions = f"{destination}-questions"
    client = receiver(broker)
    with listening(client):
        client.subscribe(questions, ack="client")
        for number in range(20):
            writer.send(questions, f"{number}")
            frame = client.message_queue.get(timeout=PATIENCE)
            client.send(destination, b"answer " + frame.body, confirm=True)
            client.ack(frame)
    assert [inbox.get().body for _ in range(20)] == [f"answer {number}".encode() for number in range(20)]
    assert what_is_left(broker, writer, questions) == []


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_workers_that_share_a_client_take_each_message_once(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "ack_modes", "client-individual")
    needs(broker, "takes_pieces")
    count, workers = 200, 6
    taken: Counter[bytes] = Counter()
    lock = threading.Lock()
    client = receiver(broker, version, queue_size=10)

    def work() -> int:
        mine = 0
        while (frame := client.message_queue.get(timeout=PATIENCE)).body != b"stop":
            client.ack(frame)
            with lock:
                taken[frame.body] += 1
            mine += 1
        client.ack(frame)
        return mine

    with listening(client), ThreadPoolExecutor(workers) as threads:
        client.subscribe(destination, ack="client-individual")
        working = [threads.submit(work) for _ in range(workers)]
        for number in range(count):
            writer.send(destination, f"{number}")
        for _ in range(workers):
            writer.send(destination, "stop")
        done = [worker.result(PATIENCE) for worker in working]
    assert sum(done) == count
    assert taken == Counter(f"{number}".encode() for number in range(count))
    assert what_is_left(broker, writer, destination) == []


def test_a_full_queue_holds_nothing_back_for_ever(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    client = receiver(broker, queue_size=1)
    with listening(client):
        client.subscribe(destination)
        for number in range(50):
            writer.send(destination, f"{number}")
        bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(50)]
    assert bodies == [f"{number}".encode() for number in range(50)]


def test_messages_come_over_tls_though_the_queue_is_full(broker: RunningBroker, destination: str) -> None:
    needs(broker, "tls")
    authority = str(broker.certificates.authority)
    with ForeignClient(broker, tls=True) as writer:  # the development broker is another one behind that port
        address = broker.address(tls=True)
        client = QueueingDuplexClient.from_url(address, tls_ca=authority, queue_size=1)
        with listening(client):
            client.subscribe(destination)
            for number in range(50):
                writer.send(destination, f"{number}".encode() * 1000)
            bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(50)]
    assert bodies == [f"{number}".encode() * 1000 for number in range(50)]


def test_a_batch_that_is_sent_while_the_loop_runs_arrives_in_order(
    broker: RunningBroker, writer: ForeignClient, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_pieces")
    questions = f"{destination}-questions"
    client = receiver(broker)
    with listening(client):
        client.subscribe(questions)
        writer.send(questions, "question")
        assert client.message_queue.get(timeout=PATIENCE).body == b"question"
        client.send_many([Message(destination, f"{number}") for number in range(300)], confirm=True)
        writer.send(questions, "another one")
        assert client.message_queue.get(timeout=PATIENCE).body == b"another one"
    assert [inbox.get().body for _ in range(300)] == [f"{number}".encode() for number in range(300)]


def test_the_loop_ends_at_once_though_more_messages_wait_than_the_client_takes(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "many_unacknowledged")
    for number in range(100):
        writer.send(destination, f"{number}")
    client = receiver(broker, queue_size=2)
    with listening(client) as loop:
        client.subscribe(destination, ack="client")
        frame = client.message_queue.get(timeout=PATIENCE)
        client.ack(frame)
        assert eventually(client.message_queue.full)
        client.shutdown_event.set()
        assert loop.ended(PATIENCE / 2), "the DISCONNECT waits for a receipt that stands behind the messages"
    left = [body for body, _ in what_is_left(broker, writer, destination)]
    assert left == [f"{number}".encode() for number in range(1, 100)]


# Heart-beats.


def test_heart_beats_keep_an_idle_connection_open_while_the_loop_runs(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")
    client = receiver(broker, heart_beat=HEART_BEATS)
    with listening(client) as loop:
        client.subscribe(destination)
        sends, wants = map(int, client.connect().headers["heart-beat"].split(","))
        assert sends > 0
        assert wants > 0
        assert not loop.ended(IDLE), loop.error
        writer.send(destination, "still here")
        assert client.message_queue.get(timeout=PATIENCE).body == b"still here"
        client.send(f"{destination}-other", b"in both directions", confirm=True)


def test_heart_beats_keep_an_idle_connection_open_while_receive_waits(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")
    with receiver(broker, heart_beat=HEART_BEATS) as client:
        session = client.session
        client.subscribe(destination)
        assert client.receive(IDLE) is None
        writer.send(destination, "still here")
        assert take(client).body == b"still here"
        client.send(f"{destination}-other", b"in both directions", confirm=True)
        assert client.session == session


def test_heart_beats_keep_the_connection_open_while_nobody_takes_the_messages(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "takes_heart_beats")
    client = receiver(broker, heart_beat=HEART_BEATS, queue_size=1)
    with listening(client) as loop:
        client.subscribe(destination)
        for number in range(5):
            writer.send(destination, f"{number}")
        assert not loop.ended(IDLE), loop.error
        bodies = [client.message_queue.get(timeout=PATIENCE).body for _ in range(5)]
        client.send(f"{destination}-other", b"in both directions", confirm=True)
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]


def test_heart_beats_that_come_late_after_a_frame_are_waited_for(broker: RunningBroker, destination: str) -> None:
    needs(broker, "takes_heart_beats")
    # ActiveMQ/5.17.2 leaves a beat out where a frame came since the last one: the line is silent for twice as long.
    with ExitStack() as running:
        loops = []
        for number in range(20):
            client = receiver(broker, heart_beat=HEART_BEATS)
            loops.append(running.enter_context(listening(client)))
            client.send(f"{destination}-{number}", b"the receipt is the frame", confirm=True)
        loops[0].ended(IDLE)
        assert [str(loop.error) for loop in loops if loop.ended(0)] == []


# The end of a subscription.


@pytest.mark.parametrize("version", VERSIONS)
def test_after_unsubscribe_messages_wait_in_the_queue(
    broker: RunningBroker, writer: ForeignClient, destination: str, version: str
) -> None:
    needs(broker, "unsubscribes_by_id")
    with receiver(broker, version) as client:
        identity = client.subscribe(destination)
        writer.send(destination, "before")
        assert take(client).body == b"before"
        client.unsubscribe(identity)
        writer.send(destination, "after")
        assert what_is_left(broker, writer, destination) == [(b"after", False)]
        assert client.message_queue.empty()


def send_to_a_topic_that_was_left(broker: RunningBroker, topic: str, body: str) -> None:
    """Send at the moment when the topic's only subscriber leaves; on a connection of its own, which that may cost."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with ForeignClient(broker) as writer:
            try:
                writer.send(topic, body)
            except ForeignError:
                if broker.traits.confirms_to_a_topic_that_was_left or time.monotonic() > deadline:
                    raise
            else:
                return


def test_after_unsubscribe_nothing_more_comes_from_a_topic(
    broker: RunningBroker, writer: ForeignClient, client: QueueingDuplexClient, topic: str, destination: str
) -> None:
    identity = client.subscribe(topic)
    client.subscribe(destination)
    writer.send(topic, "before")
    assert take(client).body == b"before"
    client.unsubscribe(identity, headers={"destination": topic})
    send_to_a_topic_that_was_left(broker, topic, "unheard")
    writer.send(destination, "of the other subscription")
    assert take(client).body == b"of the other subscription"


def test_a_client_goes_on_after_it_has_unsubscribed_with_messages_on_their_way(
    broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    needs(broker, "unsubscribes_in_flight")
    for number in range(100):
        writer.send(destination, f"{number}")
    with receiver(broker) as client:
        identity = client.subscribe(destination, ack="client")
        client.ack(take(client))
        client.unsubscribe(identity, headers={"destination": destination})
        client.send(f"{destination}-other", b"goes on", confirm=True)
        client.subscribe(f"{destination}-other", ack="client")
        while (frame := take(client)).body != b"goes on":  # those that were on their way come first
            assert frame.headers["subscription"] == identity
        client.ack(frame)
    left = [body for body, _ in what_is_left(broker, writer, destination)]
    assert sorted(left) == sorted(f"{number}".encode() for number in range(1, 100))


def test_a_subscription_can_begin_again_under_the_same_id(
    writer: ForeignClient, client: QueueingDuplexClient, destination: str
) -> None:
    for body in (b"one", b"two"):
        client.subscribe(destination, id="mine")
        writer.send(destination, body)
        frame = take(client)
        assert (frame.body, frame.headers["subscription"]) == (body, "mine")
        client.unsubscribe("mine", headers={"destination": destination})


# Callbacks.


class Notebook:
    """What a callback was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, frame: Frame) -> None:
        self.bodies.append(frame.body)


@pytest.fixture
def calling(broker: RunningBroker) -> Iterator[PublishSubscribeClient]:
    """Our client with callbacks; its loop runs."""
    client = PublishSubscribeClient.from_url(broker.url, **options_for(broker, None, {}))
    with listening(client):
        yield client


def test_each_subscription_calls_its_own_function(
    calling: PublishSubscribeClient, writer: ForeignClient, destination: str, topic: str
) -> None:
    of_queue, of_topic = Notebook(), Notebook()
    calling.subscribe(destination, of_queue)
    calling.subscribe(topic, of_topic)
    for number in range(3):
        writer.send(destination, f"queue {number}")
        writer.send(topic, f"topic {number}")
    assert eventually(lambda: len(of_queue.bodies) + len(of_topic.bodies) == 6)
    assert of_queue.bodies == [b"queue 0", b"queue 1", b"queue 2"]
    assert of_topic.bodies == [b"topic 0", b"topic 1", b"topic 2"]


def test_a_callback_may_answer_and_acknowledge(
    calling: PublishSubscribeClient,
    broker: RunningBroker,
    writer: ForeignClient,
    inbox: ForeignClient,
    destination: str,
) -> None:
    questions = f"{destination}-questions"
    done: list[bytes] = []

    def answer(frame: Frame) -> None:
        calling.send(destination, b"answer to " + frame.body, confirm=True)
        calling.ack(frame)
        done.append(frame.body)

    calling.subscribe(questions, answer, ack="client")
    send_three(writer, questions)
    answers = [inbox.get().body for _ in range(3)]
    assert eventually(lambda: len(done) == 3)
    calling.disconnect()
    assert answers == [b"answer to one", b"answer to two", b"answer to three"]
    assert what_is_left(broker, writer, questions) == []


def test_a_callback_may_take_its_message_and_answer_it_in_one_transaction(
    calling: PublishSubscribeClient,
    broker: RunningBroker,
    writer: ForeignClient,
    inbox: ForeignClient,
    destination: str,
) -> None:
    needs(broker, "acks_in_transactions")
    questions = f"{destination}-questions"
    done: list[bytes] = []

    def answer(frame: Frame) -> None:
        with calling.transaction() as transaction:
            transaction.send(destination, b"answer to " + frame.body)
            calling.ack(frame, transaction=transaction.id)
        done.append(frame.body)

    calling.subscribe(questions, answer, ack="client")
    send_three(writer, questions)
    answers = [inbox.get().body for _ in range(3)]
    assert eventually(lambda: len(done) == 3)
    calling.disconnect()
    assert answers == [b"answer to one", b"answer to two", b"answer to three"]
    assert what_is_left(broker, writer, questions) == []


def test_what_a_callback_did_not_acknowledge_because_it_failed_comes_again(
    calling: PublishSubscribeClient, broker: RunningBroker, writer: ForeignClient, destination: str
) -> None:
    failed: list[Exception] = []

    def note(error: Exception, frame: Frame) -> None:
        failed.append(error)

    calling.on_error = note  # type: ignore[method-assign]

    def fail(_: Frame) -> None:
        raise LookupError("the callback's own")

    calling.subscribe(destination, fail, ack="client")
    writer.send(destination, "message")
    assert eventually(lambda: failed)
    calling.disconnect()
    assert what_is_left(broker, writer, destination) == [(b"message", broker.traits.says_redelivered)]


def test_a_callback_is_called_no_more_after_unsubscribe(
    broker: RunningBroker, calling: PublishSubscribeClient, writer: ForeignClient, destination: str, topic: str
) -> None:
    of_topic, of_queue = Notebook(), Notebook()
    identity = calling.subscribe(topic, of_topic)
    calling.subscribe(destination, of_queue)
    writer.send(topic, "before")
    assert eventually(lambda: of_topic.bodies)
    calling.unsubscribe(identity, headers={"destination": topic})
    send_to_a_topic_that_was_left(broker, topic, "unheard")
    writer.send(destination, "later than that")
    assert eventually(lambda: of_queue.bodies)
    assert of_topic.bodies == [b"before"]
