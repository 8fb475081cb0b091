"""``stomp-web broker``: runs the development broker in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import errno
import logging
import threading
import typing

from ..broker import Broker
from ..errors import ConfigurationError, StompError
from .display import report

__all__ = ["run"]


def run(
    host: str,
    port: int,
    *,
    login: str | None,
    passcode: str | None,
    server: str | None,
    queues: typing.Sequence[str],
    verbose: bool,
) -> int:
    """Serve until Ctrl-C or SIGTERM. Raises `StompError` if the address or the name of a queue cannot be used."""
    if verbose:
        _log_to_stderr()
    options: dict[str, typing.Any] = {} if server is None else {"server": server}
    try:
        broker = Broker(host, port, login=login, passcode=passcode, queues=queues, **options)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    try:
        broker.start()
    except OSError as error:
        hint = ". Is a broker running there? --port 0 takes a free port." if error.errno == errno.EADDRINUSE else ""
        raise StompError(f"{error.strerror or error}{hint}") from None
    try:
        address, port = broker.address
        report(
            f"The development broker listens on stomp://{f'[{address}]' if ':' in address else address}:{port}",
            "Not for production: messages are in memory only. Press Ctrl-C to stop it.",
        )
        never = threading.Event()
        while not never.wait(1):  # a signal that comes right before a wait is handled only when that wait ends
            pass
    except KeyboardInterrupt:
        report("\nThe broker has stopped.")
    finally:
        broker.stop()
    return 0


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("stomp_web.broker")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
