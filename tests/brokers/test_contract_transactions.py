"""The contract, transactions: all of it after COMMIT, nothing after ABORT.

"Nothing" is shown by a message sent afterwards: it is the first that arrives.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from stomp_web import NotSent, PublishClient, Rejected
from tests.brokers.refusing import check_refused

if TYPE_CHECKING:
    from tests.brokers.foreign import ForeignClient
    from tests.brokers.running import RunningBroker
    from tests.brokers.traits import Refusal


def test_a_commit_delivers_and_nothing_comes_before_it(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    with client.transaction() as transaction:
        transaction.send(destination, b"one")
        transaction.send(destination, b"two")
        client.send(destination, b"outside")
        assert inbox.get().body == b"outside"
    assert [inbox.get().body for _ in range(2)] == [b"one", b"two"]


def test_an_exception_in_the_block_aborts_and_goes_on_its_way(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    def send_and_fail() -> None:
        with client.transaction() as transaction:
            transaction.send(destination, b"never")
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="own"):
        send_and_fail()
    client.send(destination, b"afterwards")
    assert inbox.get().body == b"afterwards"


def test_an_abort_delivers_nothing(client: PublishClient, inbox: ForeignClient, destination: str) -> None:
    transaction = client.begin()
    client.send(destination, b"never", transaction=transaction)
    client.abort(transaction)
    client.send(destination, b"afterwards")
    assert inbox.get().body == b"afterwards"


def test_a_transaction_begun_and_committed_by_hand_delivers(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    transaction = client.begin()
    client.send(destination, b"by hand", transaction=transaction)
    client.commit(transaction)
    assert inbox.get().body == b"by hand"


def test_a_disconnect_in_an_open_transaction_delivers_nothing(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    transaction = client.begin()
    client.send(destination, b"never", transaction=transaction)
    client.disconnect()
    client.send(destination, b"afterwards")
    assert inbox.get().body == b"afterwards"


def test_two_transactions_of_one_client_do_not_mix(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    first, second = client.begin(), client.begin()
    client.send(destination, b"first", transaction=first)
    client.send(destination, b"second", transaction=second)
    client.commit(second)
    client.abort(first)
    client.send(destination, b"afterwards")
    assert [inbox.get().body for _ in range(2)] == [b"second", b"afterwards"]


def test_a_refused_message_makes_the_transaction_fail_in_the_brokers_words(broker: RunningBroker) -> None:
    def send_two(client: PublishClient, refusal: Refusal) -> None:
        with client.transaction() as transaction:
            transaction.send(refusal.destination, b"refused")
            transaction.send(refusal.destination, b"refused as well")

    # ActiveMQ 5.17 sometimes answers the COMMIT ("marked rollback only") before the refused SEND.
    for refusal in broker.refusals():
        client = PublishClient.from_url(refusal.url)
        check_refused(functools.partial(send_two, client, refusal), f"{refusal.words}|rollback", Rejected)


def test_a_transaction_that_is_not_open_cannot_be_committed(client: PublishClient) -> None:
    client.connect()
    with pytest.raises(NotSent, match="never-begun"):
        client.commit("never-begun")
