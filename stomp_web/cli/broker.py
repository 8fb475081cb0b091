"""``stomp-web broker`` runs the development broker in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import errno
import logging
import typing

from .._internal.signals import StopSignals
from .._internal.wakeup import Wakeup
from ..broker import Broker
from ..connection.address import Endpoint
from ..errors import ConfigurationError, StompError
from .display import report

__all__ = ["run"]


def run(host: str, port: int, *, verbose: bool, http: tuple[str, int] | None = None, **options: typing.Any) -> int:
    """Serve until Ctrl-C or SIGTERM. *options* are arguments of `Broker`. The value ``None`` means the default.

    *http* is the host and port of the broker's page for browsers. ``None`` means no page. Raises `StompError` if an
    address or the name of a queue cannot be used.
    """
    if verbose:
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("stomp_web.broker").setLevel(logging.DEBUG)
    try:
        broker = Broker(host, port, **{name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    wakeup = Wakeup()
    wakeup.fileno()
    with contextlib.ExitStack() as stack:
        stack.callback(wakeup.close)
        # Before the start: a program that already uses the broker may send the signal.
        stop = stack.enter_context(StopSignals(wakeup.wake))
        try:
            broker.start()
        except OSError as error:
            other = Endpoint(broker.address[0], _other_port(port))
            hint = (
                f"Is a broker running there? --port {other.port} takes another port; clients need --url stomp://{other}"
            )
            raise StompError(_with_hint(error, hint)) from None
        stack.callback(broker.stop)
        lines = [f"The development broker listens on stomp://{Endpoint(*broker.address)}"]
        if http is not None:
            lines += _start_page(stack, broker, *http)
        report(*lines, "Not for production: messages are in memory only. Press Ctrl-C to stop it.")
        while not stop.asked:
            wakeup.wait(1)
        report("\nThe broker has stopped.")
    return 0


def _start_page(pages: contextlib.ExitStack, broker: Broker, host: str, port: int) -> list[str]:
    """Start the page of *broker*, and return the lines to print about the page.

    When the exit stack *pages* is closed, the stack stops the page.
    """
    from ..broker.page import Page, is_loopback  # http.server is imported only for the page

    try:
        page = pages.enter_context(Page(broker, host, port))
    except OSError as error:
        other = Endpoint(host, _other_port(port))
        hint = f"Does another broker have its page there? --http {other} takes another port; open the page there"
        raise StompError(_with_hint(error, hint)) from None
    lines = [f"Its page is at {page.url}"]
    if not is_loopback(host):
        lines.append("The page has no login: other machines can read messages, send messages and switch on faults.")
    return lines


def _other_port(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _with_hint(error: OSError, hint: str) -> str:
    """Return the text of *error*, followed by *hint* if the port is in use."""
    return f"{error.strerror or error}" + (f". {hint}." if error.errno == errno.EADDRINUSE else "")
