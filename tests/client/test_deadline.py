"""One deadline for a whole call."""

from __future__ import annotations

import math

import pytest

from stomp_web import ConfigurationError, PublishClient, PublishClientPool, Publisher, QueueingDuplexClient
from stomp_web.connection.deadline import Deadline, checked

NO_TIMES = [0, -1, math.nan, math.inf, True, False, "5", [5], b"5"]


@pytest.mark.parametrize("seconds", NO_TIMES)
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="timeout") as failure:
        checked(seconds)
    assert failure.value.option == "timeout"


@pytest.mark.parametrize("seconds", [1e9, 1e300, pytest.param(10**400, id="huge")])
def test_a_time_longer_than_the_system_can_wait_is_cut(broker, seconds):
    if seconds < 1e301:
        with PublishClient(*broker.address, timeout=seconds, connect_timeout=1e9) as client:
            client.send("/queue/a", b"", confirm=True)
    with PublishClient(*broker.address) as client:
        client.send("/queue/a", b"", confirm=True, timeout=seconds)
    with PublishClientPool(broker.url, max_size=1) as pool, pool.client(seconds) as client:
        client.send("/queue/a", b"", confirm=True, timeout=seconds)
    with QueueingDuplexClient(*broker.address) as client:
        client.send("/queue/a", b"", confirm=True, timeout=seconds)


@pytest.mark.parametrize("timeout", [value for value in NO_TIMES if value != "5"])
def test_no_client_takes_a_timeout_that_is_none(timeout):
    with pytest.raises(ConfigurationError, match="timeout"):
        PublishClient(timeout=timeout)
    with pytest.raises(ConfigurationError, match="timeout"):
        PublishClientPool("stomp://localhost", timeout=timeout)
    with pytest.raises(ConfigurationError, match="timeout"):
        QueueingDuplexClient(timeout=timeout)


@pytest.mark.parametrize("timeout", NO_TIMES)
def test_a_call_with_a_timeout_that_is_none_sends_nothing(broker, timeout):
    client = PublishClient(*broker.address)
    with pytest.raises(ConfigurationError):
        client.send("/queue/a", b"", timeout=timeout)
    with Publisher(broker.url) as publisher, pytest.raises(ConfigurationError):
        publisher.send("/queue/a", 1, timeout=timeout)
    assert broker.connections_accepted == 0


def test_none_means_the_client_s_own_timeout(broker, client):
    client.send("/queue/a", b"", confirm=True, timeout=None)
    assert len(broker.messages("/queue/a")) == 1


def test_shares_of_a_deadline_fit_into_it():
    deadline = Deadline(100)
    assert 24 < deadline.share(4).seconds <= 25
    assert deadline.sooner(1).seconds == 1
    assert deadline.sooner(1000).seconds <= 100


@pytest.mark.parametrize("seconds", [0, None, "x", float("nan")])
def test_a_client_keeps_its_timeout_when_it_is_given_none_that_is_one(seconds):
    client = PublishClient()
    with pytest.raises(ConfigurationError, match="timeout"):
        client.timeout = seconds
    client.timeout = 3
    assert client.timeout == 3.0
