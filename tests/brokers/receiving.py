"""What the tests of the contract for receiving share: our clients, stomp.py on the other side, and what is left behind.

Whether a broker believes that a message was taken shows only when the receiver is gone: what it did not acknowledge is
there for the next one.
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from stomp_web import (
    QueueingDuplexClient,
    StompError,
)
from tests.brokers.foreign import ForeignClient, ForeignError, NothingCame
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web import Frame
    from tests.brokers.running import RunningBroker
    from tests.brokers.traits import Refusal

VERSIONS = ["1.0", "1.1", "1.2"]

MODES = [
    ("1.0", "client"),
    ("1.1", "client"),
    ("1.2", "client"),
    ("1.1", "client-individual"),
    ("1.2", "client-individual"),
]
"""STOMP 1.0 has no client-individual."""

_MARK_AGAIN = 10.0
"""Seconds after which a mark that has not come is sent once more."""


def options_for(broker: RunningBroker, version: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if version is not None:
        needs(broker, "versions", version)
    return {"versions": (version or broker.traits.versions[-1],), "timeout": PATIENCE, **options}


def receiver(broker: RunningBroker, version: str | None = None, **options: Any) -> QueueingDuplexClient:
    """Our client, not connected yet. It speaks *version*, or the highest that works at this broker."""
    return QueueingDuplexClient.from_url(broker.url, **options_for(broker, version, options))


@contextmanager
def dying(client: QueueingDuplexClient) -> Iterator[QueueingDuplexClient]:
    """The client, connected. When the block ends it is gone without a word: no DISCONNECT, only a closed socket."""
    with closing(client):
        client.connect()
        yield client


def take(client: QueueingDuplexClient) -> Frame:
    """The next message; it must come."""
    frame = client.receive(PATIENCE)
    assert frame is not None, "no message came"
    return frame


def again(frame: Frame) -> bool:
    """Whether the message says that it was delivered before."""
    return frame.headers.get("redelivered") == "true"


def send_three(writer: ForeignClient, destination: str) -> None:
    for body in ("one", "two", "three"):
        writer.send(destination, body)


def what_is_left(
    broker: RunningBroker, writer: ForeignClient, destination: str, *, at_least: int = 0
) -> list[tuple[bytes, bool]]:
    """The messages still in the queue, and for each whether it says that it is delivered again.

    A mark, sent behind all others, tells where the end is. *at_least* so many messages must come, also behind the mark:
    ActiveMQ-Artemis/2.40.0 gives back what a client had some time after it has confirmed the client's DISCONNECT. Until
    then it may also give the mark to that client, so the mark is sent again if it does not come.
    """
    mark = f"the end {uuid.uuid4()}"
    left: list[tuple[bytes, bool]] = []
    ended = False
    deadline = time.monotonic() + PATIENCE
    writer.send(destination, mark)
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        while not ended or len(left) < at_least:
            try:
                message = reader.get(_MARK_AGAIN)
            except NothingCame:
                if time.monotonic() > deadline:
                    raise
                writer.send(destination, mark)
                continue
            if message.body == mark.encode():
                ended = True
            elif not message.body.startswith(b"the end "):  # a mark that was sent twice, of an earlier call
                left.append((message.body, message.headers.get("redelivered") == "true"))
    return left


def check_that_all_was_taken(broker: RunningBroker, writer: ForeignClient, destination: str, last: bytes) -> None:
    """Fail unless nothing is left of the messages that an ``ack:auto`` subscriber had when it left, *last* at the end.

    A broker that acknowledges a moment after it has sent may still give back the last one: the client was faster.
    """
    left = what_is_left(broker, writer, destination)
    allowed = [[]] if broker.traits.acks_what_it_sends else [[], [(last, True)]]
    assert left in allowed


def left_behind(broker: RunningBroker, *bodies: bytes) -> list[tuple[bytes, bool]]:
    """What is left of the messages with these *bodies*, which a client had when it went, without an answer to them."""
    traits = broker.traits
    return [
        (body, traits.says_redelivered and (traits.says_of_all_that_were_left or position == 0))
        for position, body in enumerate(bodies)
    ]


class Loop:
    """`listen_forever` in a thread, and what it raised."""

    def __init__(self, client: QueueingDuplexClient) -> None:
        self.client = client
        self.error: StompError | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert client.listening_event.wait(PATIENCE), f"the loop does not run: {self.error}"

    def run(self) -> None:
        try:
            self.client.listen_forever()
        except StompError as error:
            self.error = error

    def ended(self, within: float = PATIENCE) -> bool:
        """Wait for the end of the loop; False when it still runs after that many seconds."""
        self.thread.join(within)
        return not self.thread.is_alive()


@contextmanager
def listening(client: QueueingDuplexClient) -> Iterator[Loop]:
    """The client's loop runs while the block does."""
    loop = Loop(client)
    try:
        yield loop
    finally:
        client.shutdown_event.set()
        assert loop.ended(2 * PATIENCE)  # its DISCONNECT may wait for a receipt
        client.close()


def refusals_of(broker: RunningBroker) -> list[Refusal]:
    refusals = broker.refusals()
    if not refusals:
        pytest.skip(f"{broker}: refuses nothing (see its refusals)")
    return refusals


def send_to_a_topic_that_was_left(broker: RunningBroker, topic: str, body: str) -> None:
    """Send at the moment when the topic's only subscriber leaves; on a connection of its own, which that may cost."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with ForeignClient(broker) as writer:
            try:
                writer.send(topic, body)
            except ForeignError:
                if broker.traits.confirms_to_a_topic_that_was_left or time.monotonic() > deadline:
                    raise
            else:
                return
