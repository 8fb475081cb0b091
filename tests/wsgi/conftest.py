from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stomp_web.broker import Broker
from tests.brokers.ports import lasting_broker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def local_broker() -> Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker
