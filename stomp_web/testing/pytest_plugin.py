"""The pytest plugin, loaded by pytest wherever stomp-web is installed.

It is imported in every test run of that environment. So it imports only pytest, and has no effect on a test that does
not use one of its fixtures.
"""

from __future__ import annotations

import typing

import pytest

if typing.TYPE_CHECKING:
    from ..broker import Broker
    from ..publisher.backends.local import OutboxMessage

__all__ = ["stomp_broker", "stomp_outbox"]


@pytest.fixture
def stomp_outbox() -> typing.Iterator[list[OutboxMessage]]:
    """The messages that any publisher sends during the test, as a list; they go to no broker."""
    from .captured import capture

    with capture() as outbox:
        yield outbox


@pytest.fixture
def stomp_broker() -> typing.Iterator[Broker]:
    """A running development broker for this test only: use ``stomp_broker.url``, ``stomp_broker.messages(...)``."""
    from ..broker import Broker

    with Broker() as broker:
        yield broker
