"""``stomp-web send`` sends messages, and prints the confirmations. ``stomp-web ping`` checks the broker.

After the last message was sent, Ctrl-C does not change the exit status. A failure to print never changes the status.
"""

from __future__ import annotations

import sys
import time
import typing

from ..connection.address import parse_address
from ..errors import MessageError, SerializationError
from ..publisher import Publisher
from ..publisher.command import check_broker
from ..serializers import typed_payload
from .display import complain, report, time_text

__all__ = ["ping", "run"]


def run(
    url: str,
    destination: str,
    body: str,
    *,
    serializer: str | None,
    headers: typing.Iterable[tuple[str, str]],
    count: int,
    confirm: bool,
    timeout: float | None,
) -> int:
    """Send *count* messages one after the other. Raises the errors of `Publisher.send`."""
    sent, sending = 0, False
    try:
        with Publisher(url) as publisher:
            payload, serializer = _read(body, serializer)
            began = time.monotonic()
            message_id, printing = "", True
            while sent < count:
                started = time.monotonic()
                sending = True
                message_id = publisher.send(
                    destination, payload, dict(headers), serializer=serializer, confirm=confirm, timeout=timeout
                )
                sent, sending = sent + 1, False
                if count > 1 and printing:
                    printing = report(f"{message_id}  {time_text(time.monotonic() - started)}")
            seconds = time.monotonic() - began
            if printing:
                what = f"{count} messages" if count > 1 else f"message {message_id}"
                _sum_up(publisher, f"{what} to {destination}, as {serializer}", count, confirm, seconds, timeout)
    except MessageError:
        if sent:
            complain(f"{sent} of {count} messages were sent before this:")
        raise
    except KeyboardInterrupt:
        if sent < count:
            if sending:
                complain(f"{sent} of {count} messages were sent; whether the next one was is not known")
            raise
    return 0


def ping(url: str, *, timeout: float | None) -> int:
    """Check that the broker answers in *timeout* seconds. ``None`` means the timeout in *url*, or 5 seconds."""
    with Publisher(url) as publisher:
        report(check_broker(publisher, timeout))
    return 0


def _sum_up(publisher: Publisher, what: str, count: int, confirm: bool, seconds: float, timeout: float | None) -> None:
    health = publisher.check(timeout)
    said = f" ({health.server or 'a server without a name'}, STOMP {health.version})" if health.version else ""
    took = time_text(seconds)
    if not confirm or parse_address(publisher.options.url).local:
        confirmed = f"nothing, as no receipt was asked for; handed over in {took}"
    elif count == 1:
        confirmed = f"with a receipt, after {took}, connecting included"
    else:
        confirmed = f"with {count} receipts, after {took} ({count / seconds:.0f} messages/s)"
    report(f"sent:       {what}", f"broker:     {health.broker}{said}", f"confirmed:  {confirmed}")


def _read(body: str, serializer: str | None) -> tuple[typing.Any, str]:
    """Return the payload and the name of the serializer. If *body* is ``-``, read the payload from standard input."""
    if body != "-":
        return typed_payload(body, serializer)
    if sys.stdin is None:
        raise SerializationError("standard input is closed: there is no body", serializer)
    data = sys.stdin.buffer.read()
    if serializer == "bytes":
        return data, serializer
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SerializationError(
            "standard input is not UTF-8, and nothing was sent; --serializer bytes sends it unchanged", serializer
        ) from None
    return typed_payload(text, serializer)
