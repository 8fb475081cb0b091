"""The development broker of this project, `stomp_web.broker`, as a process that can be killed like any other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.brokers.ports import free_ports
from tests.brokers.running import RunningBroker
from tests.brokers.traits import Durable, Refusal, Traits

_PROJECT = Path(__file__).parents[2]

DENIED = "/queue/forbidden"
"""The destination that nobody may use."""


class Development(RunningBroker):
    """`stomp_web.broker.Broker` in a Python of its own, run by `serve_development.py`."""

    name = "development"
    install = "it is part of the project"
    traits = Traits(
        # It is for development: its messages live in memory.
        keeps_on_disk=False,
        # It takes ActiveMQ's headers, as here, and RabbitMQ's.
        durable=Durable(
            connect={"client-id": "{name}"},
            subscribe={"activemq.subscriptionName": "{name}"},
            unsubscribe=({"activemq.subscriptionName": "{name}"},),
        ),
        login_refusal="Access refused for user 'guest'",
        vhost_refusal="Virtual host 'nowhere' access denied",
    )

    def __init__(self) -> None:
        super().__init__()
        self.port, self.tls_port = free_ports(2)

    @classmethod
    def missing(cls) -> str | None:
        return None

    def prepare(self) -> None:
        # Only now: a run that starts no broker does without cryptography.
        from tests.certificates import make_certificates

        self.certificates = make_certificates(self.directory)

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "tests.brokers.serve_development"),
            *(self.host, str(self.port), str(self.tls_port), self.login, self.passcode),
            *(str(self.certificates.server_certificate), str(self.certificates.server_key)),
        ]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path}

    def refusals(self) -> list[Refusal]:
        return [Refusal("guest", self.url, DENIED, f"Access to '{DENIED}' denied")]
