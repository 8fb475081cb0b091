"""``stomp-web listen``: the messages of a destination, printed as they arrive."""

from __future__ import annotations

import contextlib
import time
import typing

from ..client.address import parse_address
from ..client.dialect import choose_dialect
from ..client.duplex import QueueingDuplexClient
from ..config import read_options
from ..errors import StompError
from .display import message_text, say

__all__ = ["run"]

# Those options of an address that one connection knows. An address that is shared with an application may hold others,
# such as pool_size, which are a publisher's.
_CONNECTION = (
    "login",
    "passcode",
    "vhost",
    "timeout",
    "connect_timeout",
    "heart_beat",
    "tls_ca",
    "tls_cert",
    "tls_key",
)
_A_LONG_TIME = 3600.0


def run(
    url: str,
    destination: str,
    *,
    count: int | None,
    timeout: float | None,
    ack: str,
    headers: dict[str, str],
    accept: typing.Sequence[str],
) -> int:
    """Print messages until there were *count*, *timeout* is over, or Ctrl-C was pressed.

    Raises `StompError` if the connection ends, or if *count* messages did not come in time.
    """
    options = read_options(parse_address(url).options)
    keys = options.get("signing_keys", ())
    client = QueueingDuplexClient.from_url(
        url.partition("?")[0], **{name: options[name] for name in _CONNECTION if name in options}
    )
    with contextlib.closing(client):
        client.connect()
        if ack != "auto":
            # What the broker has sent and nobody took goes back to its queue, but marked as redelivered: ask for few.
            header = choose_dialect(client.server).prefetch_header
            headers = {header: "100" if count is None else "1", **headers} if header else headers
        client.subscribe(destination, ack=ack, headers=headers)
        say(f"Listening to {destination} at {client.broker} ({client.server or 'a server without a name'})\n")
        printed = 0
        try:
            for frame in _frames(client, count, timeout):
                printed += 1
                say(message_text(printed, frame, accept, keys))
                if ack != "auto":
                    client.ack(frame)
        except KeyboardInterrupt:
            if count is not None:
                raise
        client.disconnect()
    if count is not None and printed < count:
        raise StompError(f"only {printed} of {count} messages came from {destination} within {timeout:g} s")
    return 0


def _frames(client: QueueingDuplexClient, count: int | None, timeout: float | None) -> typing.Iterator[typing.Any]:
    """The next *count* messages (``None``: all that come) within *timeout* seconds (``None``: however long)."""
    end = None if timeout is None else time.monotonic() + timeout
    taken = 0
    while count is None or taken < count:
        rest = _A_LONG_TIME if end is None else end - time.monotonic()
        if rest <= 0:
            return
        frame = client.receive(rest)
        if frame is not None:
            taken += 1
            yield frame
