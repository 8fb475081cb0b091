"""The pytest plugin of stomp-web. pytest loads the plugin wherever stomp-web is installed.

Therefore, this module imports only pytest, and changes only tests that use its fixtures.
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
    """A list of the messages that all publishers send during the test. The messages do not go to a broker."""
    from .captured import capture

    with capture() as outbox:
        yield outbox


@pytest.fixture
def stomp_broker() -> typing.Iterator[Broker]:
    """A development broker that runs during the test. Its address is ``stomp_broker.url``."""
    from ..broker import Broker

    with Broker() as broker:
        yield broker
