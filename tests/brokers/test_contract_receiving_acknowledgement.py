"""The contract, receiving: what ACK and NACK do with a message at each broker.

The other side is stomp.py, which sends, and which reads afterwards what is left. Whether a broker believes that a
message was taken shows only when the receiver is gone: what it did not acknowledge is there for the next one.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    MODES,
    VERSIONS,
    again,
    check_that_all_was_taken,
    left_behind,
    receiver,
    send_three,
    take,
    what_is_left,
)
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker

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
    check_that_all_was_taken(broker, writer, destination, b"three")


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
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"three", True)]


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
    assert what_is_left(broker, writer, destination, at_least=2) == left_behind(broker, b"one", b"three")


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
    assert [body for body, _ in what_is_left(broker, writer, destination, at_least=1)] == [b"three"]


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
    assert what_is_left(broker, writer, destination, at_least=2) == left_behind(broker, b"one", b"three")


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
    assert what_is_left(broker, writer, destination, at_least=2) == left_behind(broker, b"one", b"three")
