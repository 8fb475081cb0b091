"""Certificates for the tests: an authority made on the spot, what it signed, and an authority nobody trusts.

Written once per run into a directory, in each form that a broker or a client asks for: PEM for Python and Erlang,
PKCS 12 for Java.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

if TYPE_CHECKING:
    from pathlib import Path

STORE_PASSWORD = "changeit"
"""Of both Java stores; they hold nothing secret."""


@dataclass(frozen=True)
class Certificates:
    """Paths of files. The server's certificate is for `localhost` and 127.0.0.1."""

    authority: Path
    """The authority's certificate: what a client trusts."""

    server_certificate: Path
    server_key: Path

    client_certificate: Path
    """Signed by the same authority, for a client that identifies itself."""

    client_key: Path

    stranger: Path
    """The certificate of another authority, which signed none of these."""

    keystore: Path
    """PKCS 12: the server's certificate and key."""

    truststore: Path
    """PKCS 12: the authority, in the form that Java takes for trust."""


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and everything that it signs, as files in `directory`."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    client = authority.issue_cert("client@stomp-web.test")
    made = Certificates(
        authority=directory / "authority.pem",
        server_certificate=directory / "server.pem",
        server_key=directory / "server.key",
        client_certificate=directory / "client.pem",
        client_key=directory / "client.key",
        stranger=directory / "stranger.pem",
        keystore=directory / "server.p12",
        truststore=directory / "authority.p12",
    )
    authority.cert_pem.write_to_path(str(made.authority))
    trustme.CA().cert_pem.write_to_path(str(made.stranger))
    for leaf, certificate, key in (
        (server, made.server_certificate, made.server_key),
        (client, made.client_certificate, made.client_key),
    ):
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
    _write_java_stores(made)
    return made


def _write_java_stores(made: Certificates) -> None:
    encryption = BestAvailableEncryption(STORE_PASSWORD.encode())
    chain = x509.load_pem_x509_certificates(made.server_certificate.read_bytes())
    key = load_pem_private_key(made.server_key.read_bytes(), None)
    made.keystore.write_bytes(
        pkcs12.serialize_key_and_certificates(b"server", key, chain[0], chain[1:], encryption)  # type: ignore[arg-type]
    )
    # Java trusts a certificate of a PKCS 12 file only when it carries an attribute of Java's own; this call sets it.
    trusted = pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(made.authority.read_bytes()), b"authority")
    made.truststore.write_bytes(pkcs12.serialize_java_truststore([trusted], encryption))
