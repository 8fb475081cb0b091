from __future__ import annotations

import typing

import pytest

from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker


@pytest.fixture
def dev_broker(monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[Broker]:
    """A development broker, at STOMP_URL."""
    with lasting_broker(denied=["/queue/denied"]) as broker:
        monkeypatch.setenv("STOMP_URL", broker.url)
        yield broker
