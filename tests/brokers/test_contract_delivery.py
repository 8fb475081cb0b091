"""The contract, delivery: what the options of a send mean to a broker, and what a receipt means to the sender."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING

import pytest

from stomp_web import BrokerUnavailable, Message, PublishClient, PublishClientPool, Publisher, ReceiptTimeout
from tests.brokers.foreign import ForeignClient
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker


def test_a_message_is_persistent_unless_the_sender_says_otherwise(
    publisher: Publisher, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    needs(broker, "says_persistent")
    publisher.send(destination, "kept")
    publisher.send(destination, "light", persistent=False)
    assert inbox.get().headers.get("persistent") == "true"
    assert inbox.get().headers.get("persistent", "false") == "false"


def test_a_persistent_message_outlives_a_restart_of_the_broker(broker: RunningBroker, destination: str) -> None:
    needs(broker, "keeps_on_disk")
    publisher = Publisher(broker.url)
    publisher.send(destination, "light", persistent=False)
    publisher.send(destination, "kept", persistent=True)
    publisher.close()
    broker.restart()
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        assert json.loads(reader.get().body) == "kept"


def test_a_priority_arrives(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    publisher.send(destination, "urgent", priority=7)
    assert inbox.get().headers["priority"] == "7"


def test_an_expired_message_is_not_delivered(
    publisher: Publisher, reader: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    needs(broker, "expires")
    for seconds in (0.2, 2, 20):  # a broker with much to do may look at its clock late
        publisher.send(f"{destination}-{seconds}", "short-lived", ttl=0.05)
        taken = time.monotonic()
        while time.monotonic() < taken + seconds:  # its time passes while the broker works for others
            publisher.send(f"{destination}-other", "busy")
        publisher.send(f"{destination}-{seconds}", "fresh")
        reader.subscribe(f"{destination}-{seconds}")
        first = json.loads(reader.get().body)
        if first == "fresh":
            break
        assert json.loads(reader.get().body) == "fresh"
    assert first == "fresh"


def test_a_message_with_time_left_is_delivered(publisher: Publisher, reader: ForeignClient, destination: str) -> None:
    publisher.send(destination, "long-lived", ttl=60)
    reader.subscribe(destination)
    assert json.loads(reader.get().body) == "long-lived"


def test_correlation_id_and_reply_to_arrive(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    publisher.send(destination, "question", correlation_id="order:7/ä", reply_to="/queue/answers")
    headers = inbox.get().headers
    assert headers["correlation-id"] == "order:7/ä"
    assert headers["reply-to"] == "/queue/answers"


def test_headers_of_the_sender_arrive_beside_the_options(
    publisher: Publisher, inbox: ForeignClient, destination: str
) -> None:
    publisher.send(destination, "x", {"tenant": "a:b"}, priority=2)
    headers = inbox.get().headers
    assert headers["tenant"] == "a:b"
    assert headers["priority"] == "2"


def test_a_confirmed_message_is_in_the_queue_when_send_returns(
    publisher: Publisher, broker: RunningBroker, destination: str
) -> None:
    publisher.send(destination, "here")
    with ForeignClient(broker) as late:
        late.subscribe(destination)
        assert json.loads(late.get().body) == "here"


def test_a_confirmed_send_waits_for_the_broker(
    publisher: Publisher, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    publisher.send(destination, "before")  # the connection is open now
    with ThreadPoolExecutor(1) as pool:
        broker.pause()
        try:
            sending = pool.submit(publisher.send, destination, "waiting")
            with pytest.raises(NotYet):
                sending.result(0.3)
        finally:
            broker.resume()
        sending.result(PATIENCE)
    assert [json.loads(inbox.get().body) for _ in range(2)] == ["before", "waiting"]


def test_a_confirmed_send_gives_up_at_its_timeout_and_the_next_one_goes_through(
    publisher: Publisher, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    publisher.send(destination, "before")
    broker.pause()
    try:
        for seconds in (1, 5, 20):  # a thread that the system stops for so long has not sent anything
            began = time.monotonic()
            with pytest.raises((ReceiptTimeout, BrokerUnavailable)) as failure:
                publisher.send(destination, "unknown", timeout=seconds)
            if isinstance(failure.value, ReceiptTimeout):
                break
        assert 0.9 * seconds < time.monotonic() - began < PATIENCE / 2
    finally:
        broker.resume()
    assert isinstance(failure.value, ReceiptTimeout)
    assert failure.value.message_id
    publisher.send(destination, "after")
    arrived = [json.loads(inbox.get().body)]
    while arrived[-1] != "after":
        arrived.append(json.loads(inbox.get().body))
    assert arrived in (["before", "unknown", "after"], ["before", "after"])


def test_an_unconfirmed_send_does_not_wait_for_the_broker(
    publisher: Publisher, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    publisher.send(destination, "before")
    broker.pause()
    try:
        publisher.send(destination, "not waiting", confirm=False)
    finally:
        broker.resume()
    assert [json.loads(inbox.get().body) for _ in range(2)] == ["before", "not waiting"]


def test_a_topic_reaches_each_of_its_subscribers(publisher: Publisher, broker: RunningBroker, destination: str) -> None:
    topic = destination.replace("/queue/", "/topic/")
    with ForeignClient(broker) as one, ForeignClient(broker) as other:
        one.subscribe(topic)
        other.subscribe(topic)
        publisher.send(topic, "news")
        assert json.loads(one.get().body) == json.loads(other.get().body) == "news"


def test_many_messages_sent_together_arrive_in_order(
    client: PublishClient, inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    needs(broker, "takes_pieces")
    client.send_many([Message(destination, f"{number}", {"number": str(number)}) for number in range(300)])
    arrived = [inbox.get() for _ in range(300)]
    assert [message.body for message in arrived] == [f"{number}".encode() for number in range(300)]
    assert [message.headers["number"] for message in arrived] == [str(number) for number in range(300)]


def test_many_messages_sent_together_are_in_the_queue_after_an_immediate_disconnect(
    broker: RunningBroker, reader: ForeignClient, destination: str
) -> None:
    with PublishClient.from_url(broker.url) as client:
        client.send_many([Message(destination, f"{number}") for number in range(20)], confirm=True)
    reader.subscribe(destination)
    assert [reader.get().body for _ in range(20)] == [f"{number}".encode() for number in range(20)]


def test_unconfirmed_messages_are_not_lost_by_a_disconnect(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    with PublishClient.from_url(broker.url) as client:
        for number in range(20):
            client.send(destination, f"{number}", confirm=False)
    assert [inbox.get().body for _ in range(20)] == [f"{number}".encode() for number in range(20)]


def test_many_payloads_sent_together_arrive_with_the_ids_that_were_returned(
    publisher: Publisher, inbox: ForeignClient, destination: str
) -> None:
    sent = publisher.send_many([(destination, {"number": 0}), (destination, {"number": 1}, {"kind": "second"})])
    first, second = inbox.get(), inbox.get()
    assert [json.loads(message.body)["number"] for message in (first, second)] == [0, 1]
    assert [message.headers["x-message-id"] for message in (first, second)] == sent
    assert second.headers["kind"] == "second"


def test_threads_that_share_a_publisher_lose_and_double_nothing(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    publisher = Publisher(broker.url, pool_size=3)
    with ThreadPoolExecutor(8) as threads:
        sent = list(threads.map(lambda number: publisher.send(destination, number), range(200)))
    publisher.close()
    arrived = [inbox.get() for _ in range(200)]
    assert sorted(json.loads(message.body) for message in arrived) == list(range(200))
    assert {message.headers["x-message-id"] for message in arrived} == set(sent)


def test_a_client_lent_by_a_pool_sends_and_is_lent_again(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    pool = PublishClientPool(broker.url)
    for body in (b"first", b"second"):
        with pool.client() as client:
            client.send(destination, body, confirm=True)
    pool.close()
    assert [inbox.get().body for _ in range(2)] == [b"first", b"second"]


def test_a_batch_is_delivered_when_its_block_ends(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    with publisher.batch() as batch:
        batch.send(destination, "in the batch")
        publisher.send(destination, "beside it")
        assert json.loads(inbox.get().body) == "beside it"
    assert json.loads(inbox.get().body) == "in the batch"


def test_a_batch_is_dropped_when_its_block_raises(publisher: Publisher, inbox: ForeignClient, destination: str) -> None:
    def send_and_fail() -> None:
        with publisher.batch() as batch:
            batch.send(destination, "dropped")
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="own"):
        send_and_fail()
    publisher.send(destination, "afterwards")
    assert json.loads(inbox.get().body) == "afterwards"
