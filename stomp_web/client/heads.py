"""The heads of SEND frames: encoded once for each destination and its headers, and kept.

An application sends to the same few destinations with the same headers again and again; only the id of the message
changes. So what was checked and encoded once is found again by a look into a dict. Measured on CPython 3.11 with four
headers: 0.5 us a head, against 6 us for building, checking and encoding a frame. That is also the way of everything
that is not found, and so a kept head can be no other than that.
"""

from __future__ import annotations

import typing

from ..errors import InvalidFrame
from ..protocol import commands
from ..protocol.encode import encode_head, encode_header

__all__ = ["MESSAGE_ID", "Heads", "head_of", "message_id_of", "with_id"]

#: The header by which a receiver can tell a message that came twice.
MESSAGE_ID: typing.Final = "x-message-id"

_MOST_KEPT = 512  # heads of each version; then it begins anew
_LONGEST_KEPT = 2_048  # bytes

_kept: dict[str, dict[tuple[object, ...], bytes]] = {"1.0": {}, "1.1": {}, "1.2": {}}


def head_of(
    destination: str, content_type: str | None, headers: typing.Mapping[str, str] | None, version: str = "1.2"
) -> bytes:
    """Return the command line and header lines of a SEND, as far as they are the same for every broker.

    ``content-length``, ``receipt`` and ``transaction`` are to be put behind them, and then the blank line.

    Raises `InvalidFrame` for what no SEND of the *version* may hold.
    """
    read: dict[str, str] = {}
    message_id: str | None = None
    has_id = False
    try:
        if headers:
            # Read once. If it computes its values, or another thread changes it, what it holds the second time must not
            # be kept under what it held the first time.
            read = headers.copy() if type(headers) is dict else dict(headers.items())
            has_id = MESSAGE_ID in read
            if has_id:
                message_id = read.pop(MESSAGE_ID)
        key = (destination, content_type, *read.items())
        head = _kept[version].get(key)
    except (AttributeError, TypeError):  # no mapping, or what nobody can look up: the encoder says more
        return _encode(destination, content_type, headers, version)
    if head is None:
        head = _keep(version, key, _encode(destination, content_type, read, version))
    if not has_id:
        return head
    if type(message_id) is str and message_id.isascii():
        written = message_id.encode()
        if written.replace(b"-", b"").isalnum():  # nothing that any version would escape
            return with_id(head, written)
    return head + encode_header(MESSAGE_ID, typing.cast(str, message_id), "SEND", version)


class Heads:
    """What `head_of` returns for always the same headers, found by destination and content type alone.

    *check* is called with each destination before its head is kept, and raises if nothing may be sent there.
    Measured on CPython 3.11: 0.13 us for a head, against 0.57 us.
    """

    __slots__ = ("_check", "_headers", "_kept")

    def __init__(self, headers: typing.Mapping[str, str], check: typing.Callable[[str], object] | None = None) -> None:
        self._check = check
        self._headers = dict(headers)
        self._kept: dict[tuple[str, str | None], bytes] = {}

    def of(self, destination: str, content_type: str | None) -> bytes:
        """Return the head. Raises as `head_of` does."""
        key = (destination, content_type)
        try:
            return self._kept[key]
        except (KeyError, TypeError):  # TypeError: what nobody can look up, and `head_of` says more of
            pass
        head = head_of(destination, content_type, self._headers)
        if self._check is not None:
            self._check(destination)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        if len(head) <= _LONGEST_KEPT:
            self._kept[key] = head
        return head


def message_id_of(headers: typing.Mapping[str, str]) -> str | None:
    """The ``x-message-id`` among *headers*; ``None`` if there is none, or if it is empty, which is no id."""
    message_id = headers.get(MESSAGE_ID)
    return message_id if isinstance(message_id, str) and message_id.strip() else None


def with_id(head: bytes, message_id: bytes) -> bytes:
    """Return *head* with one more header: a *message_id* that holds nothing that any version would escape."""
    return b"%bx-message-id:%b\n" % (head, message_id)


def _encode(
    destination: str, content_type: str | None, headers: typing.Mapping[str, str] | None, version: str
) -> bytes:
    frame = commands.send(destination, b"", headers)
    if content_type is not None:
        if frame.headers.get("content-type", content_type) != content_type:
            raise InvalidFrame("content_type and the header 'content-type' contradict each other; give one of them")
        frame.headers["content-type"] = content_type
    return encode_head(frame.command, frame.headers, version)


def _keep(version: str, key: tuple[object, ...], head: bytes) -> bytes:
    if len(head) <= _LONGEST_KEPT:
        heads = _kept[version]
        if len(heads) >= _MOST_KEPT:
            heads.clear()
        heads[key] = head
    return head
