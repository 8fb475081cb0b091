"""`RelayHealth`: whether a relay is live and ready."""

from __future__ import annotations

import dataclasses
import threading
import typing

from .._internal.log import get_logger
from ..health import HealthCheck, Report

if typing.TYPE_CHECKING:
    from typing import Self

    from ..pool import Health
    from .relay import Relay

__all__ = ["RelayHealth"]

_log = get_logger("health")

_CHECK_EVERY: typing.Final = 5.0  # seconds between two checks whether the broker answers
_END_LIMIT: typing.Final = 0.1  # seconds that the end of a block waits for a check that still runs

_FAILED: typing.Final = Report(ready=False, reason="the broker could not be checked; the log has the error")


class RelayHealth:
    """The health of *relay*, for a `HealthServer`. A call returns the `Report`, and does not wait.

    The relay is live while `Relay.stuck` is empty. Before its first look at the outbox, the relay is not ready. After
    that, the relay is ready while it can reach the database, its own broker and the brokers of the messages that it has
    found. While the relay sends nothing, a thread asks the relay's own broker every five seconds, with `Relay.check`.
    If all connections are in use, the thread cannot ask, and the result of the last check stays in the report. The
    thread runs during a ``with`` block, and uses a connection of the relay's publisher. The details of the report are
    ``sent``, ``failures`` and ``outbox`` of the relay's `RelayStats`.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._broker = Report(ready=False, reason="the broker was not asked yet")
        self._check = HealthCheck(self._check_broker)
        self._asked = True  # whether the last check could ask the broker
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stomp-health-broker", daemon=True)

    def __call__(self) -> Report:
        """Return the report."""
        stuck, stats = self._relay.stuck, self._relay.stats()
        reason = stuck or self._broker.reason
        if stats.problem and not stuck:
            reason = "the relay cannot reach a broker or the database, or is starting; the log says why"
        details = {"sent": stats.sent, "failures": stats.failures, "outbox": dataclasses.asdict(stats.outbox)}
        return Report(not stuck, not reason, reason, details)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(_END_LIMIT)

    def _watch(self) -> None:
        sent = 0
        while True:
            before, sent = sent, self._relay.stats().sent
            self._broker = self._ask() if sent == before else Report()  # otherwise the broker has confirmed a message
            if self._ending.wait(_CHECK_EVERY):
                return

    def _check_broker(self, timeout: float) -> Health | None:
        health = self._relay.check(timeout)
        self._asked = health is None or health.asked
        return health

    def _ask(self) -> Report:
        try:
            report = self._check()
            # While all connections are in use, a broker that has confirmed a message remains ready.
            return report if self._asked or self._broker.reason else self._broker
        except Exception:  # noqa: BLE001 - the publisher cannot be used, or has a bug; the next check may succeed
            if self._broker is not _FAILED:  # log only the first of several failures in a row
                _log.exception("the broker could not be checked")
            return _FAILED
