"""A client's key that is encrypted: the password is an option, nothing asks for it, and nothing shows it."""

from __future__ import annotations

import logging
import os
import pty
import ssl
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from stomp_web import ConfigurationError, PublishClient, PublishClientPool, Publisher, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.worker import Worker
from stomp_web.wsgi import StompMiddleware
from tests.test_secrecy import kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "correct-horse-key"


class Files(NamedTuple):
    ca: str
    certificate: str
    key: str
    encrypted: str
    other_key: str
    other_encrypted: str
    both: str
    junk: str


def encrypt(key: bytes) -> bytes:
    encryption = BestAvailableEncryption(PASSWORD.encode())
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder: Path = tmp_path_factory.mktemp("tls")
    mine = authority.issue_cert("me@example.org")
    plain = mine.private_key_pem.bytes()
    encrypted = encrypt(plain)
    other = authority.issue_cert("you@example.org").private_key_pem.bytes()
    contents = Files(
        authority.cert_pem.bytes(),
        mine.cert_chain_pems[0].bytes(),
        plain,
        encrypted,
        other,
        encrypt(other),
        mine.cert_chain_pems[0].bytes() + encrypted,
        b"junk",
    )
    for name, content in contents._asdict().items():
        (folder / f"{name}.pem").write_bytes(content)
    return Files(*(str(folder / f"{name}.pem") for name in Files._fields))


@pytest.fixture(scope="module")
def broker(authority: trustme.CA) -> Iterator[Broker]:
    """A broker that takes nobody without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Broker(ssl=context) as broker:
        yield broker


def options(files: Files, **more: str) -> dict[str, str]:
    return {"tls_ca": files.ca, "tls_cert": files.certificate, "tls_key": files.encrypted, **more}


def flask_app(url: str, **given: str) -> Publisher:
    from flask import Flask

    from stomp_web.flask import Stomp

    app = Flask("shop")
    app.config.from_mapping(STOMP_URL=url, **{f"STOMP_{name.upper()}": value for name, value in given.items()})
    Stomp(app)
    return app.extensions["stomp"].publisher


def in_the_address(url: str, **given: str) -> Publisher:
    return Publisher(f"{url}?{'&'.join(f'{name}={value}' for name, value in given.items())}")


USES = {
    "Publisher": Publisher,
    "address": in_the_address,
    "Flask": flask_app,
    "WSGI": lambda url, **given: StompMiddleware(lambda environ, start: [], url=url, **given).publisher,
    "PublishClient": lambda url, **given: PublishClient(ssl=True, **given),
    "PublishClient.from_url": PublishClient.from_url,
    "QueueingDuplexClient": lambda url, **given: QueueingDuplexClient(ssl=True, **given),
    "QueueingDuplexClient.from_url": QueueingDuplexClient.from_url,
    "PublishClientPool": PublishClientPool,
    "Worker": Worker,
}


@pytest.mark.parametrize("use", USES)
def test_an_encrypted_key_without_its_password_is_refused_and_tls_key_is_named(files, use):
    with pytest.raises(ConfigurationError, match=r"tls_key: .* is encrypted; .* tls_key_password") as refusal:
        USES[use]("stomp+ssl://127.0.0.1:1", **options(files))

    assert refusal.value.option == "tls_key"


@pytest.mark.parametrize("use", USES)
def test_a_wrong_password_is_refused_and_not_shown(files, use, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigurationError, match="tls_key_password does not decrypt") as refusal:
        USES[use]("stomp+ssl://127.0.0.1:1", **options(files, tls_key_password=PASSWORD[::-1]))

    assert refusal.value.option == "tls_key_password"
    assert PASSWORD[::-1] not in kept(refusal.value) + caplog.text
    assert "PRIVATE KEY" not in kept(refusal.value)


@pytest.mark.parametrize("use", USES)
def test_the_right_password_is_taken_and_shown_nowhere(files, use):
    made = USES[use]("stomp+ssl://127.0.0.1:1", **options(files, tls_key_password=PASSWORD))

    assert PASSWORD not in f"{made} {made!r} {getattr(made, 'options', None)!r}"


def test_a_message_is_sent_with_an_encrypted_key(broker, files):
    url = broker.url
    with Publisher(url, **options(files, tls_key_password=PASSWORD), timeout=20) as publisher:
        publisher.send("/queue/signed-in", {"id": 7})
    assert len(broker.messages("/queue/signed-in")) == 1


def test_the_key_may_stand_encrypted_in_the_file_of_the_certificate(files):
    PublishClient(ssl=True, tls_ca=files.ca, tls_cert=files.both, tls_key_password=PASSWORD)
    with pytest.raises(ConfigurationError, match=r"tls_cert: the key in the file .* is encrypted"):
        PublishClient(ssl=True, tls_ca=files.ca, tls_cert=files.both)


def test_a_password_that_the_key_does_not_need_does_no_harm(files):
    PublishClient(ssl=True, tls_cert=files.certificate, tls_key=files.key, tls_key_password=PASSWORD)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("other_key", "not the key of the certificate"),
        ("junk", "holds no private key"),
        ("certificate", "holds no private key"),
    ],
)
def test_a_key_that_cannot_be_used_is_blamed_and_not_the_certificate(files, key, problem):
    with pytest.raises(ConfigurationError, match=f"tls_key: .*{problem}") as refusal:
        PublishClient(ssl=True, tls_cert=files.certificate, tls_key=getattr(files, key))
    assert refusal.value.option == "tls_key"


def test_a_password_that_decrypts_the_key_of_another_certificate_is_not_blamed(files):
    with pytest.raises(ConfigurationError, match=r"tls_key: .*not the key of the certificate") as refusal:
        PublishClient(ssl=True, tls_cert=files.certificate, tls_key=files.other_encrypted, tls_key_password=PASSWORD)
    assert refusal.value.option == "tls_key"


def test_a_key_that_is_not_there_is_blamed(files):
    with pytest.raises(ConfigurationError, match=r"tls_key: the file '/no-such\.key' cannot be used: No such file"):
        PublishClient(ssl=True, tls_cert=files.certificate, tls_key="/no-such.key")


@pytest.mark.parametrize("given", [{"ssl": True}, {}, {"ssl": ssl.create_default_context()}])
def test_a_password_without_a_key_is_refused(given):
    with pytest.raises(ConfigurationError, match="tls_key_password"):
        PublishClient(**given, tls_key_password=PASSWORD)


@pytest.mark.parametrize("password", [5, b"bytes", "", "x" * 2000])
def test_what_is_no_password_is_refused_and_not_shown(files, password):
    with pytest.raises(ConfigurationError, match="tls_key_password") as refusal:
        PublishClient(ssl=True, **options(files, tls_key_password=password))
    assert "xxx" not in str(refusal.value) + "".join(traceback.format_exception(refusal.value))


def test_the_command_that_shows_the_configuration_does_not_show_it(files):
    from flask import Flask

    from stomp_web.flask import Stomp

    app = Flask("shop")
    app.config.from_mapping(STOMP_URL="stomp+ssl://127.0.0.1:1")
    app.config.from_mapping(
        {f"STOMP_{name.upper()}": value for name, value in options(files, tls_key_password=PASSWORD).items()}
    )
    Stomp(app)

    result = app.test_cli_runner().invoke(args=["stomp", "config"])

    assert "tls_key_password = ***" in result.output
    assert PASSWORD not in result.output


def test_nothing_asks_for_the_password_on_the_terminal(files):
    """On a terminal of its own, where OpenSSL would ask, and wait without end."""
    ours, theirs = pty.openpty()
    code = (
        "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from stomp_web import ConfigurationError, Publisher\n"
        "try: Publisher('stomp+ssl://mq', tls_cert=sys.argv[1], tls_key=sys.argv[2])\n"
        "except ConfigurationError as error: print(error.option, file=sys.stderr)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, files.certificate, files.encrypted],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=150,
            check=False,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.stderr.decode().strip() == "tls_key"
