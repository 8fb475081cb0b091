"""A broker in this process, and clients that are closed when the test ends."""

from __future__ import annotations

import contextlib
import typing

import pytest

from stomp_web.broker import Broker
from tests.broker.clock import Clock
from tests.broker.wire import Wire
from tests.brokers.ports import lasting_broker

Connect = typing.Callable[..., Wire]


@pytest.fixture
def broker() -> typing.Iterator[Broker]:
    with lasting_broker() as running:
        yield running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all brokers: ``clock.forward(broker, seconds)``."""
    return Clock(monkeypatch)


@pytest.fixture
def open_wire(broker: Broker) -> typing.Iterator[typing.Callable[..., Wire]]:
    """Opens a TCP connection to the broker, without sending."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Wire(broker, **options))


@pytest.fixture
def connect(open_wire: typing.Callable[..., Wire]) -> Connect:
    """Opens a session, by default in STOMP 1.2."""

    def connect(version: str = "1.2", **headers: str) -> Wire:
        wire = open_wire()
        answer = wire.connect(version, **headers)
        assert answer.command == "CONNECTED", answer
        return wire

    return connect
