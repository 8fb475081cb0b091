"""Ports on which a broker can listen, stop, and listen again."""

from __future__ import annotations

import atexit
import contextlib
import random
import socket
import typing

from stomp_web.broker import Broker

# Below every system's range of ephemeral ports (Linux starts at 32768, others at 49152): while a broker is down
# between stop and start, no outgoing connection of the tests can be given its port.
_RANGE = range(20_000, 32_000)

_until_the_end = contextlib.ExitStack()
atexit.register(_until_the_end.close)


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1, each of them like `own_port`, but until this process ends."""
    return [_until_the_end.enter_context(own_port()) for _ in range(count)]


@contextlib.contextmanager
def own_port() -> typing.Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and which no other run of the tests is given during the block.

    The UDP port of the same number is bound as long. It shows other runs that the number is taken. It disturbs no
    server, and the system frees it, however this process ends.
    """
    sign, port = _taken()
    with sign:
        yield port


@contextlib.contextmanager
def lasting_broker(**options: typing.Any) -> typing.Iterator[Broker]:
    """A development broker in this process. It can be stopped and started, and its port stays its own meanwhile."""
    with own_port() as port, Broker(port=port, **options) as broker:
        yield broker


def _taken() -> tuple[socket.socket, int]:
    for port in random.SystemRandom().sample(_RANGE, min(len(_RANGE), 200)):
        sign = socket.socket(type=socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", port))
            with socket.socket() as server:
                server.bind(("127.0.0.1", port))
        except OSError:
            sign.close()
        else:
            return sign, port
    raise OSError(f"no port was found from {_RANGE[0]} to {_RANGE[-1]} that is free")
