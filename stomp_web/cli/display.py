"""The output of commands: lines on standard output and standard error, and received messages as text."""

from __future__ import annotations

import contextlib
import json
import pprint
import sys
import typing

from .._internal.printable import harmless, without_outcome
from .._internal.streams import try_to_print
from ..errors import DeliveryUnknown, NotSent, Rejected, SerializationError, StompError
from ..protocol import Frame
from ..serializers import deserialize
from ..serializers.base import Keys

__all__ = ["CannotPrint", "Reading", "complain", "in_words", "message_text", "read_body", "report", "say", "time_text"]

_READ_ALWAYS = ("json", "text", "bytes", "signed-json")
_MOST_BYTES = 512  # bytes that are shown if a body is not text


class CannotPrint(StompError):
    """Standard output is closed, is full, or is a pipe without a reader. In the last case, `reader_gone` is true."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"standard output cannot be written: {reason.strerror}")
        self.reader_gone = isinstance(reason, BrokenPipeError)


def say(text: str) -> None:
    """Print *text* without buffering, also into a pipe. Raises `CannotPrint` if *text* cannot be printed."""
    reason = try_to_print(sys.stdout, text)
    if reason is not None:
        raise CannotPrint(reason)


def report(*lines: str) -> bool:
    """Print *lines*, which are the result of a successful command. Return whether the lines were printed."""
    try:
        for line in lines:
            say(line)
    except CannotPrint as error:
        if not error.reader_gone:
            complain(f"warning: {error}")
        return False
    return True


def complain(text: str) -> None:
    """Print *text* on standard error if possible."""
    try_to_print(sys.stderr, f"stomp-web: {text}")


def in_words(error: BaseException, *, sending: bool = False) -> str:
    """Return the text of *error* in one line.

    If *sending* is true and *error* is a `MessageError`, the line begins with the outcome of the send: ``not sent``,
    ``rejected`` or ``delivery unknown``.
    """
    truths = ((NotSent, "not sent: "), (Rejected, "rejected: "), (DeliveryUnknown, "delivery unknown: "))
    truth = next((words for kind, words in truths if sending and isinstance(error, kind)), "")
    text = " ".join(str(error).split()) or type(error).__name__
    return truth + harmless(without_outcome(text) if truth else text)


def time_text(seconds: float) -> str:
    """Return *seconds* as text, in milliseconds or seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


class Reading(typing.NamedTuple):
    """A body as text. If the body was refused, broken or cut, `unread` is the reason and `text` shows the bytes."""

    text: str
    unread: str | None = None


def read_body(
    frame: Frame, accept: typing.Sequence[str], keys: Keys, subscribed: str | typing.Sequence[str] = ()
) -> Reading:
    """Decode the body of a received message. The default serializers run no code of the sender.

    *accept* names more serializers. *keys* verify signatures. A signature must be valid for the destination of
    *frame*, or for a destination in *subscribed*. The body of a truncated frame is not decoded: `Reading.text` shows
    the bytes, and `Reading.unread` gives the reason. An unknown content type is not an error: `Reading.text` shows the
    bytes, and `Reading.unread` is ``None``.
    """
    accept = (*_READ_ALWAYS, *accept)
    if frame.truncated:
        return Reading(_raw_text(frame.body), "; ".join(frame.defects))
    try:
        payload = deserialize(frame.body, frame.headers, accept=accept, keys=keys, sent_to=subscribed)
    except StompError as error:
        return Reading(_raw_text(frame.body), _why_not(error, accept))
    if isinstance(payload, bytes):
        return Reading(_raw_text(payload))
    content_type = frame.headers.get("content-type", "")
    if content_type.startswith("text/"):
        return Reading(harmless(str(payload)))
    try:
        as_json = json.dumps(payload, indent=2, ensure_ascii=False) if "json" in content_type else None
        return Reading(harmless(pprint.pformat(payload) if as_json is None else as_json))
    except Exception as error:  # noqa: BLE001 - a pickle may hold objects whose repr fails
        return Reading(f"({type(error).__name__} in the repr of the payload)\n" + _raw_text(frame.body))


def message_text(number: int, frame: Frame, body: Reading, fate: str = "") -> str:
    """Return a received message as text. If the body was not read, *fate* says what happens to the message."""
    head = [f"--- message {number}: {frame.headers.get('destination', '')}, {len(frame.body)} bytes"]
    head += [f"{name}: {value}".replace("\n", "\\n") for name, value in frame.headers.items()]
    lines = [*map(harmless, head), ""]
    if body.unread is not None:
        lines += [f"({fate})", f"({body.unread})"]
    return "\n".join([*lines, body.text, ""])


def _why_not(error: StompError, accept: typing.Sequence[str]) -> str | None:
    """Return the reason why a body was not read. Return ``None`` if its content type is unknown."""
    serializer = getattr(error, "serializer", None)
    if isinstance(error, SerializationError) and serializer is None:
        return None
    if serializer in (None, *accept):
        return in_words(error)
    return f"a {serializer}, which was not read: that can run code of its sender. --accept {serializer} reads it"


def _raw_text(body: bytes) -> str:
    """Return *body* as text if it is printable UTF-8. Otherwise return a hex dump."""
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
