"""What a broker can do and what it cannot, as facts that a test asks for.

A test of the contract never asks which broker it runs against. It asks for a trait, and each broker's
starter states its traits beside a comment that names the version in which they were seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest


@dataclass(frozen=True)
class Durable:
    """The headers with which a subscription to a topic outlives its subscriber; `{name}` stands for its name in them.

    The id of the subscription is the name as well.
    """

    connect: Mapping[str, str] = field(default_factory=dict)
    subscribe: Mapping[str, str] = field(default_factory=dict)
    unsubscribe: tuple[Mapping[str, str], ...] = ({},)
    """One UNSUBSCRIBE for each; after the last one the broker keeps nothing more."""

    def named(self, name: str) -> Durable:
        def filled(headers: Mapping[str, str]) -> dict[str, str]:
            return {header: value.format(name=name) for header, value in headers.items()}

        return Durable(filled(self.connect), filled(self.subscribe), tuple(map(filled, self.unsubscribe)))


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

    text_versions: tuple[str, ...] = ()
    """A body without content-length becomes a text message for other protocols, and comes back without that header over
    these STOMP versions."""

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

    nack_drops: bool = False
    """NACK is the end of the message: it goes nowhere."""

    ack_modes: tuple[str, ...] = ("auto", "client", "client-individual")
    """The values of `ack` in SUBSCRIBE that have a meaning of their own."""

    ack_versions: tuple[str, ...] = ("1.0", "1.1", "1.2")
    """The STOMP versions in which ACK finds its message, also where the subscription has an id."""

    many_unacknowledged: bool = True
    """A client gets the next message before it has acknowledged the last one."""

    nacks: bool = True
    """NACK is understood."""

    says_redelivered: bool = True
    """The MESSAGE frame of a message that was delivered before, in vain, says `redelivered:true`."""

    says_of_all_that_were_left: bool = True
    """It says so of each message that a client had and did not acknowledge when it left; otherwise of the first one."""

    acks_what_it_sends: bool = True
    """A message for a subscription with `ack:auto` is gone from its queue once its subscriber has it."""

    acks_in_transactions: bool = True
    """An ACK may be part of a transaction."""

    colons_in_ids: bool = True
    """The ids of messages have colons, or what the id of the subscription has."""

    gives_back_in_order: bool = True
    """Messages that a client had and did not acknowledge come back before those that it never had, in their order."""

    remembers_deliveries: bool = True
    """It says so too of those that were delivered before it was killed."""

    takes_heart_beats: bool = True
    """It understands the frame that follows a client's heart-beat."""

    unsubscribes_by_id: bool = True
    """UNSUBSCRIBE needs no destination."""

    unsubscribes_in_flight: bool = True
    """UNSUBSCRIBE is harmless while messages of the subscription are on their way."""

    nacks_count: bool = True
    """A message that was given back with NACK has come nearer to the delivery limit of its queue, if it has one."""

    frame_limit: int | None = None
    """Bytes of a frame, over which the broker ends the connection without a word."""

    confirms_to_a_topic_that_was_left: bool = True
    """A send to a topic is confirmed also at the moment when the topic's last subscriber leaves."""

    selectors: bool = False
    """A SUBSCRIBE may choose its messages with a `selector`, which STOMP does not know."""

    durable: Durable | None = None
    """How a subscription to a topic collects messages while its subscriber is away; STOMP has no word for that."""


@dataclass(frozen=True)
class Refusal:
    """A send that the broker answers with ERROR: who sends where, and what the broker says."""

    who: str
    url: str
    destination: str
    words: str


def needs(broker: object, trait: str, member: str | None = None) -> None:
    """Skip the running test unless the broker has the trait, or the *member* is among those that the trait lists."""
    traits: Traits = broker.traits  # type: ignore[attr-defined]
    value = getattr(traits, trait)
    if not (value if member is None else member in value):
        what = trait if member is None else f"{member} in {trait}"
        pytest.skip(f"{broker}: not {what} (see its traits)")
