"""The contract, connections: every version of STOMP, TLS, and what CONNECTED tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stomp_web import NotSent, PublishClient, Publisher
from tests.brokers.foreign import ForeignClient
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.running import RunningBroker


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_every_version_of_stomp_delivers(
    broker: RunningBroker, inbox: ForeignClient, destination: str, version: str
) -> None:
    if version not in broker.traits.versions:
        pytest.skip(f"{broker} is not tested over STOMP {version} (see its traits)")
    with PublishClient.from_url(broker.url, versions=(version,), confirm=True) as client:
        client.connect()
        assert client.version == version
        client.send(destination, "text", {"name": "value"})
        client.send(destination, bytes(range(256)), {"name": "größe"})
        with client.transaction() as transaction:
            transaction.send(destination, b"in a transaction")
    text, octets, last = (inbox.get() for _ in range(3))
    assert (text.body, text.headers["name"]) == (b"text", "value")
    assert (octets.body, octets.headers["name"]) == (bytes(range(256)), "größe")
    assert last.body == b"in a transaction"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_escapes_of_every_version_arrive_unescaped(
    broker: RunningBroker, inbox: ForeignClient, destination: str, version: str
) -> None:
    if version not in broker.traits.versions:
        pytest.skip(f"{broker} is not tested over STOMP {version} (see its traits)")
    value = "colon: line feed\n backslash\\ \\n"
    with PublishClient.from_url(broker.url, versions=(version,), confirm=True) as client:
        client.send(destination, b"body", {"special": value})
    assert inbox.get().headers["special"] == value


def test_the_highest_common_version_is_taken(client: PublishClient) -> None:
    client.connect()
    assert client.version == "1.2"


def test_the_server_of_connected_is_known(client: PublishClient, broker: RunningBroker) -> None:
    frame = client.connect()
    assert frame.command == "CONNECTED"
    assert client.server == broker.version


def test_a_disconnected_client_is_not_connected_and_connects_again_by_itself(
    client: PublishClient, inbox: ForeignClient, destination: str
) -> None:
    client.send(destination, b"first")
    assert client.connected
    client.disconnect()
    assert not client.connected
    client.send(destination, b"second")
    assert client.connected
    assert [inbox.get().body for _ in range(2)] == [b"first", b"second"]


def test_messages_go_to_the_virtual_host_of_the_address(
    broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    needs(broker, "other_vhost")
    shop = broker.traits.other_vhost
    with ForeignClient(broker, vhost=shop) as shop_reader:
        shop_reader.subscribe(destination)
        for address, payload in ((broker.address(vhost=shop), "for the shop"), (broker.url, "for the other")):
            publisher = Publisher(address)
            publisher.send(destination, payload)
            publisher.close()
        assert json.loads(shop_reader.get().body) == "for the shop"
        assert json.loads(inbox.get().body) == "for the other"


@pytest.fixture
def tls_inbox(broker: RunningBroker, destination: str) -> Iterator[ForeignClient]:
    """A foreign client that reads over TLS as well: the development broker keeps its two ports apart."""
    needs(broker, "tls")
    with ForeignClient(broker, tls=True) as reader:
        reader.subscribe(destination)
        yield reader


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_delivers_when_the_authority_is_given(
    broker: RunningBroker, tls_inbox: ForeignClient, destination: str, host: str
) -> None:
    authority = broker.certificates.authority
    publisher = Publisher(broker.address(tls=True, host=host), tls_ca=str(authority))
    publisher.send(destination, "over TLS")
    publisher.close()
    assert json.loads(tls_inbox.get().body) == "over TLS"


def test_tls_delivers_a_mebibyte(broker: RunningBroker, tls_inbox: ForeignClient, destination: str) -> None:
    body = bytes(range(256)) * 4096
    authority = broker.certificates.authority
    with PublishClient.from_url(broker.address(tls=True), tls_ca=str(authority), confirm=True) as client:
        client.send(destination, body)
    assert tls_inbox.get().body == body


def test_tls_delivers_with_a_certificate_of_the_client(
    broker: RunningBroker, tls_inbox: ForeignClient, destination: str
) -> None:
    made = broker.certificates
    publisher = Publisher(
        broker.address(tls=True),
        tls_ca=str(made.authority),
        tls_cert=str(made.client_certificate),
        tls_key=str(made.client_key),
    )
    publisher.send(destination, "identified")
    publisher.close()
    assert json.loads(tls_inbox.get().body) == "identified"


@pytest.mark.parametrize("trusted", ["nobody", "stranger"])
def test_tls_without_the_right_authority_is_refused_and_nothing_is_sent(broker: RunningBroker, trusted: str) -> None:
    needs(broker, "tls")
    authority = None if trusted == "nobody" else str(broker.certificates.stranger)
    publisher = Publisher(broker.address(tls=True), tls_ca=authority)
    with pytest.raises(NotSent, match=r"(?i)certificate"):
        publisher.send("/queue/never", "x")
    publisher.close()


def test_tls_to_the_plain_port_and_plain_to_the_tls_port_fail_within_the_timeout(broker: RunningBroker) -> None:
    needs(broker, "tls")
    crossed = (
        f"stomp+ssl://guest:guest@{broker.host}:{broker.port}",
        f"stomp://guest:guest@{broker.host}:{broker.tls_port}",
    )
    for url in crossed:
        publisher = Publisher(url, timeout=1.0, connect_timeout=0.5)
        with pytest.raises(NotSent):
            publisher.send("/queue/never", "x")
        publisher.close()
