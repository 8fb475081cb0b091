"""What a broker can do and what it cannot, as facts that a test asks for.

A test of the contract never asks which broker it runs against. It asks for a trait, and each broker's
starter states its traits beside a comment that names the version in which they were seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Traits:
    """The defaults are a broker that does everything by the letter of the specification."""

    versions: tuple[str, ...] = ("1.0", "1.1", "1.2")
    """The STOMP versions that work well enough to be tested, lowest first."""

    keeps_spaces: bool = True
    """Spaces at the start and the end of a header come back."""

    takes_pieces: bool = True
    """A frame may arrive in pieces, cut anywhere, as TCP is free to cut it."""

    checks_vhost: bool = True
    """A virtual host that does not exist is refused at CONNECT."""

    other_vhost: str | None = None
    """A second virtual host, which has destinations of its own."""

    login_refusal: str = ""
    """Words of the broker's answer to a wrong passcode of the user guest."""

    vhost_refusal: str = ""
    """Words of the broker's answer to a virtual host that does not exist."""

    text_messages: bool = False
    """A body without content-length becomes a text message for other protocols, and comes back without that header."""

    expires: bool = True
    """A message past its time to live is not delivered."""

    keeps_on_disk: bool = True
    """A persistent message outlives a restart of the broker."""

    says_persistent: bool = True
    """The MESSAGE frame of a persistent message says `persistent:true`."""

    tls: bool = True
    """The broker listens for TLS as well."""

    nacked_to: str | None = None
    """The queue into which a message goes that a client has refused with NACK; None: back into its own."""


@dataclass(frozen=True)
class Refusal:
    """A send that the broker answers with ERROR: who sends where, and what the broker says."""

    who: str
    url: str
    destination: str
    words: str


def needs(broker: object, trait: str) -> None:
    """Skip the running test unless the broker has the trait."""
    traits: Traits = broker.traits  # type: ignore[attr-defined]
    if not getattr(traits, trait):
        pytest.skip(f"{broker}: not {trait} (see its traits)")
