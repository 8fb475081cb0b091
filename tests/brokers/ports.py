"""Ports on which a broker can listen, stop, and listen again."""

from __future__ import annotations

import random
import socket

# Below every system's range of ephemeral ports (Linux starts at 32768, others at 49152): while a broker is down
# between stop and start, no outgoing connection of the tests can be given its port.
_RANGE = range(20_000, 32_000)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports on which nobody listens at this moment."""
    held: list[socket.socket] = []
    try:
        for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):
            if len(held) == count:
                break
            candidate = socket.socket()
            try:
                candidate.bind((host, port))
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
