"""``stomp-web broker`` runs the development broker in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import errno
import logging
import threading
import typing

from ..broker import Broker
from ..connection.address import Endpoint
from ..errors import ConfigurationError, StompError
from .display import report

__all__ = ["run"]


def run(host: str, port: int, *, verbose: bool, **options: typing.Any) -> int:
    """Serve until Ctrl-C or SIGTERM. *options* are arguments of `Broker`. ``None`` stands for the default.

    Raises `StompError` if the address or the name of a queue cannot be used.
    """
    if verbose:
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("stomp_web.broker").setLevel(logging.DEBUG)
    try:
        broker = Broker(host, port, **{name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    try:
        broker.start()
    except OSError as error:
        hint = ". Is a broker running there? --port 0 takes a free port." if error.errno == errno.EADDRINUSE else ""
        raise StompError(f"{error.strerror or error}{hint}") from None
    try:
        report(
            f"The development broker listens on stomp://{Endpoint(*broker.address)}",
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
