"""``stomp-web listen`` prints the messages of a destination as they arrive.

Some messages are unreadable, such as a pickle without ``--accept``, a signed message without its key, or a body that
contradicts its content type. Unless ``--ack`` is ``auto``, an unreadable message gets no ACK. When the command ends,
the broker puts the message back into its queue. A NACK would make the broker dead-letter the message, or deliver the
message again at once. With ``--ack client``, an ACK also acknowledges all earlier messages. So all messages after an
unreadable message get no ACK either.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
import typing

from .._internal.signals import StopSignals
from ..client.duplex import QueueingDuplexClient
from ..config import CONNECTION_OPTIONS, read_options
from ..connection.address import parse_address
from ..connection.dialect import choose_dialect
from ..errors import StompError
from ..protocol import Frame, commands, encode
from .display import complain, message_text, read_body, say

__all__ = ["run"]

_LOOK_UP = 0.2  # seconds between two checks whether to stop
_PREFETCH = 100  # how many unacknowledged messages the broker may send
# What happens to a message that could not be read, for each ack mode.
_FATES: typing.Final = {
    "auto": "it is taken all the same, with --ack auto",
    "client": "it is not acknowledged: it stays in its queue, and with --ack client so is every later message",
    "client-individual": "it is not acknowledged: it stays in its queue",
}


def run(
    url: str,
    destination: str,
    *,
    count: int | None,
    timeout: float | None,
    ack: str,
    headers: typing.Iterable[tuple[str, str]],
    accept: typing.Sequence[str],
) -> int:
    """Print messages until *count* messages have come, *timeout* seconds have passed, or Ctrl-C is pressed.

    Raises `StompError` if the connection ends, or if *count* messages did not come in time. Raises `StompError` if the
    broker sends no more messages because too many messages are unacknowledged.
    """
    if sys.stdout is None:
        say("")  # raises `CannotPrint`
    given_headers = dict(headers)
    encode(commands.subscribe(destination, "checked", ack, given_headers))  # raises if the frame is invalid
    address = parse_address(url)
    options = read_options(address.options)
    keys = options.get("signing_keys", ())
    given = {name: options[name] for name in CONNECTION_OPTIONS if name in options}
    # Artemis 2.40 closes a connection if the client sends nothing for a minute.
    client = QueueingDuplexClient.from_url(address.url, **{"heart_beat": (10_000, 10_000), **given})
    with contextlib.closing(client):
        client.connect()
        prefetch = 0
        if ack != "auto":
            # Unacknowledged messages go back to the queue, marked as redelivered. So let the broker send few.
            prefetch = _PREFETCH if count is None else min(count, _PREFETCH)
            asked = choose_dialect(client.server).prefetch(prefetch)
            own = [value for name, value in given_headers.items() if name in asked]
            if own or not asked:
                prefetch = int(own[0]) if own and own[0].isdecimal() else 0
            given_headers = {**asked, **given_headers}
        else:  # before SUBSCRIBE: if this cannot be printed, no message may be taken
            say("With --ack auto, messages are taken even if they cannot be read.")
        printed = unread = held = 0
        with StopSignals() as stop:  # an exception could interrupt the writing of an ACK
            client.subscribe(destination, ack=ack, headers=given_headers)
            say(f"Listening to {destination} at {client.broker} ({client.server or 'a server without a name'})\n")
            for frame in _frames(client, count, timeout, stop):
                printed += 1
                body = read_body(frame, accept, keys, destination)
                say(message_text(printed, frame, body, _FATES[ack]))
                unread += body.unread is not None
                if ack == "auto":
                    continue
                if body.unread is None and not (ack == "client" and held):
                    client.ack(frame)
                    continue
                held += 1
                if prefetch and held >= prefetch and printed != count:
                    raise StompError(
                        f"{held} messages of {destination} could not be read and are still in the queue; the broker "
                        "sends no more until they are acknowledged. --accept or a key reads them; --ack auto removes "
                        "them unread"
                    )
            client.disconnect()
        if held:
            what = "1 message of" if held == 1 else f"{held} messages of"
            others = "" if held == unread else f"were not taken, as {unread} "
            complain(f"{what} {destination} {others}could not be read; not acknowledged, and so still in the queue")
    if count is not None and printed < count:
        if stop.asked:
            raise KeyboardInterrupt
        raise StompError(f"only {printed} of {count} messages came from {destination} within {timeout:g} s")
    return 0


def _frames(
    client: QueueingDuplexClient, count: int | None, timeout: float | None, stop: StopSignals
) -> typing.Iterator[Frame]:
    """Yield at most *count* messages, for at most *timeout* seconds. ``None`` means no limit."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    taken = 0
    while not stop.asked and (count is None or taken < count):
        rest = end - time.monotonic()
        if rest <= 0:
            return
        frame = client.receive(min(rest, _LOOK_UP))
        if frame is not None:
            taken += 1
            yield frame
