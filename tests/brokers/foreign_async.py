"""stompman, the asynchronous client: a second one that shares no code with ours, nor with stomp.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import stompman

from tests.brokers.running import PATIENCE

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker

_LIMITS = ("connect_timeout", "connection_confirmation_timeout", "disconnect_confirmation_timeout")


def stompman_client(broker: RunningBroker, passcode: str | None = None, **options: Any) -> stompman.Client:
    """Its client, not connected yet; what it sets a limit of two seconds for, may take as long as all else here.

    It has heart-beats, one a minute both ways: without any it floods the broker (3.16).
    """
    server = stompman.ConnectionParameters(broker.host, broker.port, broker.login, passcode or broker.passcode)
    limits = dict.fromkeys(_LIMITS, int(PATIENCE))
    heartbeat = stompman.Heartbeat(60_000, 60_000)
    common = {"heartbeat": heartbeat, "connect_retry_attempts": 1, "on_error_frame": None, **limits}
    return stompman.Client([server], **{**common, **options})
