"""The contract, refusals: a broker's no reaches the caller as the right exception, in the broker's own words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stomp_web import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConnectionLost,
    Message,
    PublishClient,
    Publisher,
    Rejected,
    StompError,
)
from tests.faults.clock import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.foreign import ForeignClient
    from tests.brokers.running import RunningBroker

WRONG = "wr0ng-passc0de"


def refusal_of(connect: Callable[[], object]) -> StompError:
    """The error of *connect*. ActiveMQ/6.3.1 closes about one connection of 200 without its ERROR: then once more."""
    for _ in range(10):
        with pytest.raises(StompError) as failure:
            connect()
        if not isinstance(failure.value, BrokerUnavailable):
            break
    return failure.value


def test_a_wrong_passcode_fails_in_the_brokers_words_and_without_the_passcode(broker: RunningBroker) -> None:
    client = PublishClient.from_url(broker.address(passcode=WRONG))
    failure = refusal_of(client.connect)
    assert isinstance(failure, AuthenticationFailed)
    assert broker.traits.login_refusal in str(failure)
    assert WRONG not in str(failure) + repr(failure) + repr(client)
    assert not client.connected


def test_a_wrong_passcode_fails_at_once_though_the_broker_keeps_the_connection(broker: RunningBroker) -> None:
    # RabbitMQ/3.10.8 holds it open for ten seconds, coilmq/1.1.0 for ever.
    def send() -> None:
        with Publisher(broker.address(passcode=WRONG)) as publisher:
            publisher.send("/queue/never", "x")

    with watch() as stopwatch:
        assert isinstance(refusal_of(send), AuthenticationFailed)
    assert stopwatch.seconds < 9 + stopwatch.late


def test_a_virtual_host_that_does_not_exist_is_refused_where_the_broker_looks_at_it(
    broker: RunningBroker, destination: str
) -> None:
    publisher = Publisher(broker.address(vhost="nowhere"))
    if broker.traits.checks_vhost:
        with pytest.raises(AuthenticationFailed) as failure:
            publisher.send(destination, "x")
        assert broker.traits.vhost_refusal in str(failure.value)
    else:
        publisher.send(destination, "x")
    publisher.close()


def test_a_refused_destination_is_rejected_in_the_brokers_words(broker: RunningBroker) -> None:
    for refusal in broker.refusals():
        publisher = Publisher(refusal.url)
        with pytest.raises(Rejected) as rejection:
            publisher.send(refusal.destination, "x")
        said = f"{rejection.value} {rejection.value.message}"
        assert refusal.words in said
        assert rejection.value.destination == refusal.destination
        assert rejection.value.frame is not None
        assert rejection.value.frame.command == "ERROR"
        publisher.close()


def test_after_a_rejection_the_next_message_goes_through(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    for refusal in broker.refusals():
        if refusal.who != broker.login:
            continue
        publisher = Publisher(refusal.url)
        with pytest.raises(Rejected):
            publisher.send(refusal.destination, "refused")
        publisher.send(destination, "next")
        assert json.loads(inbox.get().body) == "next"
        publisher.close()


def test_when_one_of_many_is_refused_the_caller_learns_which_others_were_confirmed(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    for refusal in broker.refusals():
        if refusal.who != broker.login:
            continue
        messages = [Message(destination, "0"), Message(refusal.destination, "1"), Message(destination, "2")]
        with PublishClient.from_url(refusal.url) as client, pytest.raises((Rejected, ConnectionLost)) as failure:
            client.send_many(messages, confirm=True)
        rejection = failure.value if isinstance(failure.value, Rejected) else failure.value.__cause__
        assert isinstance(rejection, Rejected)
        assert refusal.words in f"{rejection} {rejection.message}"
        confirmed = failure.value.confirmed
        assert 0 in confirmed
        assert 1 not in confirmed
        not_sent = failure.value.not_sent
        # A message that the broker has not answered before it ended the connection has an unknown outcome, but where
        # it is known that the broker takes nothing more.
        assert (failure.value is rejection) is (2 in confirmed or 2 in not_sent)
        assert [inbox.get().body for _ in confirmed] == [f"{number}".encode() for number in confirmed]
        if not_sent:
            with PublishClient.from_url(refusal.url) as client:
                client.send_many([Message(destination, "last")], confirm=True)
            assert inbox.get().body == b"last", "a message that is told as not sent was taken"
