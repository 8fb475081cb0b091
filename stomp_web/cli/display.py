"""What is printed. Whatever came from a broker is printed so that it cannot control the terminal.

A body is read by its content type, for a reader; a pickle is not, unless the user has said so, because reading one runs
code that its sender chose.
"""

from __future__ import annotations

import contextlib
import json
import pprint
import sys
import typing

from ..errors import DeliveryUnknown, NotSent, Rejected, SerializationError, StompError
from ..printable import harmless, without_outcome
from ..serializers import deserialize

if typing.TYPE_CHECKING:
    from ..protocol import Frame

__all__ = ["complain", "in_words", "message_text", "say", "time_text"]

# What is read without being asked for: none of it can run code.
_READ_ALWAYS = ("json", "text", "bytes", "signed-json")
# Bytes of a body that is not text.
_MOST_BYTES = 512


def say(text: str) -> None:
    """Print *text* at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print *text* on standard error."""
    sys.stderr.write(f"stomp-web: {text}\n")
    sys.stderr.flush()


def in_words(error: BaseException, *, sending: bool = False) -> str:
    """Return what happened, in one line; if it was while *sending*, first what is now true of the message."""
    truths = ((NotSent, "not sent: "), (Rejected, "rejected: "), (DeliveryUnknown, "delivery unknown: "))
    truth = next((words for kind, words in truths if sending and isinstance(error, kind)), "")
    text = " ".join(str(error).split()) or type(error).__name__
    return truth + harmless(without_outcome(text) if truth else text)


def time_text(seconds: float) -> str:
    """Return a time for people."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def message_text(
    number: int,
    frame: Frame,
    accept: typing.Sequence[str],
    keys: typing.Sequence[str | bytes],
    subscribed: str | typing.Sequence[str] = (),
) -> str:
    """Return a received message: its destination, headers and body.

    *accept* names serializers that are read beside those that cannot do harm, and *keys* verify signatures
    of messages that were sent to where they come from, or to what was *subscribed*.
    """
    head = [f"--- message {number}: {frame.headers.get('destination', '')}, {len(frame.body)} bytes"]
    head += [f"{name}: {value}".replace("\n", "\\n") for name, value in frame.headers.items()]
    return "\n".join([*map(harmless, head), "", _body_text(frame, (*_READ_ALWAYS, *accept), keys, subscribed), ""])


def _body_text(
    frame: Frame,
    accept: typing.Sequence[str],
    keys: typing.Sequence[str | bytes],
    subscribed: str | typing.Sequence[str],
) -> str:
    try:
        payload = deserialize(frame.body, frame.headers, accept=accept, keys=keys, sent_to=subscribed)
    except StompError as error:
        return _why_not(error, accept) + _raw_text(frame.body)
    if isinstance(payload, bytes):
        return _raw_text(payload)
    content_type = frame.headers.get("content-type", "")
    if content_type.startswith("text/"):
        return harmless(str(payload))
    try:
        as_json = json.dumps(payload, indent=2, ensure_ascii=False) if "json" in content_type else None
        return harmless(pprint.pformat(payload) if as_json is None else as_json)
    except Exception as error:  # noqa: BLE001 - the repr of what was in a pickle is somebody's code
        return f"({type(error).__name__} in the repr of the payload)\n" + _raw_text(frame.body)


def _why_not(error: StompError, accept: typing.Sequence[str]) -> str:
    """Why the body is printed as it came."""
    serializer = getattr(error, "serializer", None)
    if isinstance(error, SerializationError) and serializer is None:
        return ""  # the content type is somebody else's
    if serializer in (None, *accept):
        return f"({in_words(error)})\n"
    return f"(a {serializer}, which was not read: that can run code of its sender. --accept {serializer} reads it)\n"


def _raw_text(body: bytes) -> str:
    """Text as it is, and anything else as a table of hexadecimal numbers."""
    with contextlib.suppress(UnicodeDecodeError):
        text = body.decode()
        if all(character >= " " or character in "\t\n\r" for character in text):
            return harmless(text.replace("\r\n", "\n"))
    lines = []
    for start in range(0, min(len(body), _MOST_BYTES), 16):
        row = body[start : min(start + 16, _MOST_BYTES)]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {letters}")
    if len(body) > _MOST_BYTES:
        lines.append(f"... and {len(body) - _MOST_BYTES} bytes more")
    return "\n".join(lines)
