"""The brokers of one test run: started when a test first asks, kept until the run ends, and accounted for.

One fleet belongs to one process. A child that a test forks has a copy of it, and must not stop its parent's brokers.
"""

from __future__ import annotations

import atexit
import os
from collections import Counter
from typing import Any

from tests.brokers.activemq import ActiveMQ, ActiveMQ6
from tests.brokers.artemis import Artemis
from tests.brokers.coilmq import CoilMQ
from tests.brokers.development import Development
from tests.brokers.rabbitmq import RabbitMQ, RabbitMQ4
from tests.brokers.running import BrokerFailed, RunningBroker, guardian

BROKERS: dict[str, type[RunningBroker]] = {
    each.name: each
    for each in (
        Development,
        RabbitMQ,
        RabbitMQ4,
        ActiveMQ,
        ActiveMQ6,
        Artemis,
        CoilMQ,
    )
}
"""By name, in the order in which the tests meet them: our own first, as it fails fastest."""

FOREIGN = tuple(name for name in BROKERS if name != Development.name)
"""Those that must be installed."""

RABBITMQ = tuple(name for name, kind in BROKERS.items() if issubclass(kind, RabbitMQ))
"""Every version of RabbitMQ."""

ACTIVEMQ = tuple(name for name, kind in BROKERS.items() if issubclass(kind, ActiveMQ))
"""Every version of ActiveMQ Classic."""

REAL = tuple(name for name in FOREIGN if name != CoilMQ.name)
"""Those that people run in production, in every version."""


class BrokerMissing(Exception):
    """The broker is not installed here; the message says how to get it."""


class Fleet:
    """At most one running broker of each kind."""

    def __init__(self) -> None:
        self.started: dict[str, RunningBroker] = {}
        self.asked_in_vain: Counter[str] = Counter()
        """How many tests did without each missing broker."""
        self.versions: dict[str, str] = {}
        """What each broker that was started says it is."""
        self._failed: dict[str, BrokerFailed] = {}
        self._owner = os.getpid()
        atexit.register(self.close)

    def get(self, name: str) -> RunningBroker:
        """The running broker of that name. Raises `BrokerMissing` or `BrokerFailed`.

        A broker that a test has left stopped, killed or paused is started again, or resumed.
        """
        if name in self._failed:
            raise self._failed[name]  # once is slow enough
        kind = BROKERS[name]
        lack = kind.missing()
        if lack is not None:
            raise BrokerMissing(f"{lack} here: {kind.install}")
        broker = self.started.get(name)
        if broker is None:
            broker = kind()
            try:
                broker.start()
            except BrokerFailed as failure:
                broker.close()
                self._failed[name] = failure
                raise
            except BaseException:
                broker.close()
                raise
            self.started[name] = broker
            self.versions[name] = str(broker)
        elif broker.running:
            broker.resume()
        else:
            broker.start()
        return broker

    def close(self) -> None:
        """Stop all of them. Called at the end of the run, and once more when Python ends."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        try:
            for broker in self.started.values():
                broker.close()
        finally:
            guardian.close()

    def account(self) -> dict[str, dict[str, Any]]:
        """What a worker of pytest-xdist tells the process that it works for."""
        return {"versions": self.versions, "asked_in_vain": dict(self.asked_in_vain)}

    def add(self, account: dict[str, dict[str, Any]]) -> None:
        """Take a worker's account into this report."""
        self.versions.update(account["versions"])
        self.asked_in_vain.update(account["asked_in_vain"])

    def report(self) -> list[str]:
        """What the run went against, and what the missing brokers cost."""
        lines = []
        if self.versions:
            lines.append(f"brokers: {', '.join(self.versions[name] for name in BROKERS if name in self.versions)}")
        for name, count in self.asked_in_vain.items():
            kind = BROKERS[name]
            skipped, them = ("1 test was skipped", "it") if count == 1 else (f"{count} tests were skipped", "them")
            lines.append(f"no {name}: {skipped} ({kind.missing()}). To run {them}: {kind.install}")
        return lines
