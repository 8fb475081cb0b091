"""CoilMQ, a small broker in Python: the smoke test of a broker that does little more than STOMP 1.0."""

from __future__ import annotations

import importlib.util
import sys

from tests.brokers.ports import free_ports
from tests.brokers.running import RunningBroker
from tests.brokers.traits import Traits


class CoilMQ(RunningBroker):
    """CoilMQ with a password file, its messages in memory."""

    name = "coilmq"
    install = "pip install coilmq"
    # coilmq/1.1.0 takes CONNECT over 1.2 only for the host `localhost`, and over the lower versions for any.
    vhost = "localhost"
    traits = Traits(
        # coilmq/1.1.0 answers 1.2, but then understands no ACK.
        versions=("1.0", "1.1"),
        # coilmq/1.1.0 strips every header line.
        keeps_spaces=False,
        # coilmq/1.1.0 reads 4096 bytes at a time, and closes the connection when a frame's last byte is not among them.
        takes_pieces=False,
        # coilmq/1.1.0 keeps messages for ever, in memory.
        expires=False,
        keeps_on_disk=False,
        tls=False,
        # coilmq/1.1.0 takes client-individual for auto; with client, one message is out and the next one waits for its
        # ACK. What comes again does not say so. Its answer to NACK is "Nack implementation incomplete".
        ack_modes=("auto", "client"),
        # coilmq/1.1.0 looks for the subscription in another header over 1.0, and for the message over 1.2.
        ack_versions=("1.1",),
        many_unacknowledged=False,
        says_redelivered=False,
        nacks=False,
        # coilmq/1.1.0 reads nothing behind a line feed between two frames.
        takes_heart_beats=False,
        # coilmq/1.1.0: "Missing destination for UNSUBSCRIBE command."
        unsubscribes_by_id=False,
        login_refusal="Authentication failed for guest",
        vhost_refusal="Virtual hosting is not supported or host is unknown",
    )

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports(1)

    @classmethod
    def missing(cls) -> str | None:
        return None if importlib.util.find_spec("coilmq") else "CoilMQ is not installed"

    def prepare(self) -> None:
        users = self.directory / "users.ini"
        users.write_text(f"[auth]\n{self.login} = {self.passcode}\n")
        (self.directory / "coilmq.cfg").write_text(
            f"[coilmq]\nauth.factory = coilmq.auth.simple.make_simple\nauth.simple.file = {users}\n"
        )

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "coilmq.start"),
            *("--config", str(self.directory / "coilmq.cfg"), "--host", self.host, "--port", str(self.port)),
        ]
