"""``stomp-web listen``: the messages of a destination, printed as they arrive."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import types
import typing

from ..client.address import parse_address
from ..client.dialect import choose_dialect
from ..client.duplex import QueueingDuplexClient
from ..config import CONNECTION_OPTIONS, read_options
from ..errors import StompError
from .display import message_text, say

if typing.TYPE_CHECKING:
    from ..protocol import Frame

__all__ = ["run"]

# Seconds after which to look whether it is time to stop.
_LOOK_UP = 0.2


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
    address = parse_address(url)
    options = read_options(address.options)
    keys = options.get("signing_keys", ())
    client = QueueingDuplexClient.from_url(
        address.url, **{name: options[name] for name in CONNECTION_OPTIONS if name in options}
    )
    with contextlib.closing(client):
        client.connect()
        if ack != "auto":
            # What the broker has sent and nobody took goes back to its queue, but marked as redelivered: ask for few.
            header = choose_dialect(client.server).prefetch_header
            headers = {header: "100" if count is None else "1", **headers} if header else headers
        client.subscribe(destination, ack=ack, headers=headers)
        printed = 0
        with _Stop() as stop:
            say(f"Listening to {destination} at {client.broker} ({client.server or 'a server without a name'})\n")
            for frame in _frames(client, count, timeout, stop):
                printed += 1
                say(message_text(printed, frame, accept, keys, destination))
                if ack != "auto":
                    client.ack(frame)
        client.disconnect()
    if count is not None and printed < count:
        if stop.asked:
            raise KeyboardInterrupt
        raise StompError(f"only {printed} of {count} messages came from {destination} within {timeout:g} s")
    return 0


def _frames(
    client: QueueingDuplexClient, count: int | None, timeout: float | None, stop: _Stop
) -> typing.Iterator[Frame]:
    """The next *count* messages (``None``: all that come) within *timeout* seconds (``None``: however long)."""
    end = None if timeout is None else time.monotonic() + timeout
    taken = 0
    while not stop.asked and (count is None or taken < count):
        rest = _LOOK_UP if end is None else end - time.monotonic()
        if rest <= 0:
            return
        frame = client.receive(min(rest, _LOOK_UP))
        if frame is not None:
            taken += 1
            yield frame


class _Stop:
    """Ctrl-C and SIGTERM set `asked` while the block runs.

    The exception that they raise elsewhere could come in the middle of an ACK, when nobody knows whether that has been
    written. Who is impatient presses Ctrl-C twice.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, typing.Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():  # signals are its
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True
