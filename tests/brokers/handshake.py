"""CONNECT by hand: the only test of readiness that proves anything.

An open port says that a socket is bound. A CONNECTED frame says that the broker has its users, its storage and its
protocol up. It is done with a bare socket so that the harness trusts neither the library under test nor a foreign one.
"""

from __future__ import annotations

import socket


class NotReady(Exception):
    """The broker did not answer CONNECT with CONNECTED: no port, no answer, or an ERROR (in the message)."""


def handshake(
    host: str, port: int, *, login: str, passcode: str, vhost: str, versions: tuple[str, ...], timeout: float
) -> dict[str, str]:
    """The headers of CONNECTED; raises `NotReady` after `timeout` seconds at the latest for each read."""
    frame = (
        f"CONNECT\naccept-version:{','.join(versions)}\nhost:{vhost}\n"
        f"login:{login}\npasscode:{passcode}\nheart-beat:0,0\n\n\0"
    )
    answer = b""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(frame.encode())
            while b"\0" not in answer:
                data = connection.recv(4096)
                if not data:
                    break
                answer += data
    except OSError as error:
        raise NotReady(f"{host}:{port}: {error}") from error
    head = answer.lstrip(b"\r\n").partition(b"\n\n")[0].decode(errors="replace").splitlines()
    if not head or head[0] != "CONNECTED":
        raise NotReady(f"{host}:{port} answered CONNECT with {answer[:200]!r}")
    return {name: value for name, _, value in (line.partition(":") for line in reversed(head[1:]))}
