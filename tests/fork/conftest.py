"""A broker in this process, over TCP or TLS, behind a wire that counts what each connection carries."""

from __future__ import annotations

import os
import ssl
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stomp_web import PublishClientPool, Publisher
from stomp_web.broker import Broker
from tests.fork.wire import PATIENCE, Wire, has_proc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificates


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if hasattr(os, "fork") and has_proc():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs fork and /proc/self/fd, as Linux has them"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    # Only now: a run without these tests does without cryptography.
    from tests.certificates import make_certificates

    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["tcp"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker; a test that wants TLS asks for it with ``broker="tls"``."""
    context = None
    if request.param == "tls":
        certificates = request.getfixturevalue("certificates")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    with Broker(ssl=context) as broker:
        yield broker


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    wire = Wire(broker.address)
    yield wire
    wire.close()


@pytest.fixture
def address(broker: Broker, wire: Wire, request: pytest.FixtureRequest) -> str:
    """The address of the wire, for a publisher."""
    if broker.url.startswith("stomp://"):
        return f"stomp://127.0.0.1:{wire.port}"
    authority: Path = request.getfixturevalue("certificates").authority
    return f"stomp+ssl://127.0.0.1:{wire.port}?tls_ca={urllib.parse.quote(str(authority))}"


@pytest.fixture
def publisher(address: str) -> Iterator[Publisher]:
    publisher = Publisher(address, timeout=PATIENCE, connect_timeout=PATIENCE)
    yield publisher
    publisher.close()


@pytest.fixture
def pool(address: str) -> Iterator[PublishClientPool]:
    pool = PublishClientPool(address, timeout=PATIENCE, connect_timeout=PATIENCE)
    yield pool
    pool.close()
