"""A development broker in this process, and scripted servers where no broker does what the test needs."""

from __future__ import annotations

import contextlib
import typing

import pytest
import trustme

from stomp_web import PublishClient, QueueingDuplexClient
from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker
from tests.client.listening import Loop
from tests.client.scripted import Script, Server


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def client(broker: Broker) -> typing.Iterator[PublishClient]:
    """A client of `broker`, not connected yet; a call of it takes a minute at the most."""
    client = PublishClient(*broker.address, timeout=60.0)
    yield client
    client.close()


@pytest.fixture
def serve() -> typing.Iterator[typing.Callable[..., Server]]:
    """Starts a scripted server: ``serve(script)``."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script, **options: typing.Any) -> Server:
            return stack.enter_context(Server(*scripts, **options))

        yield start


@pytest.fixture
def open_client(serve: typing.Callable[..., Server]) -> typing.Iterator[typing.Callable[..., PublishClient]]:
    """Starts a scripted server and returns a client for it: ``open_client(script, timeout=1.0)``."""
    with contextlib.ExitStack() as stack:

        def start(*scripts: Script, **options: typing.Any) -> PublishClient:
            server = serve(*scripts)
            client = PublishClient("127.0.0.1", server.port, **{"timeout": 60.0, **options})
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def duplex(broker: Broker) -> typing.Iterator[QueueingDuplexClient]:
    """A client of `broker` that receives, not connected yet."""
    client = QueueingDuplexClient(*broker.address, timeout=60.0)
    yield client
    client.close()


@pytest.fixture
def loop(duplex: QueueingDuplexClient) -> typing.Iterator[Loop]:
    """The running loop of `duplex`."""
    running = Loop(duplex)
    yield running
    duplex.close()
    assert running.ended()


@pytest.fixture
def scripted(serve: typing.Callable[..., Server]) -> typing.Iterator[typing.Callable[..., QueueingDuplexClient]]:
    """Starts a scripted server and returns a client for it that receives: ``scripted(script, timeout=1.0)``."""
    clients: list[QueueingDuplexClient] = []

    def start(*scripts: Script, **options: typing.Any) -> QueueingDuplexClient:
        clients.append(QueueingDuplexClient("127.0.0.1", serve(*scripts).port, **{"timeout": 60.0, **options}))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificates of this run."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file with the certificate of `authority`."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
