"""The contract, receiving: ACK and answer in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    QueueingDuplexClient,
    Rejected,
)
from tests.brokers.foreign import ForeignClient
from tests.brokers.receiving import (
    VERSIONS,
    Loop,
    dying,
    receiver,
    refusals_of,
    take,
    what_is_left,
)
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker
    from tests.brokers.traits import Refusal


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
    assert what_is_left(broker, writer, destination, at_least=1) == [(b"question", broker.traits.says_redelivered)]


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
    assert what_is_left(broker, writer, questions, at_least=1) == [(b"question", broker.traits.says_redelivered)]


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
