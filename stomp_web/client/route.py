"""Routes: what is the same for many messages, checked and encoded once. Those that were used last are kept."""

from __future__ import annotations

import functools
import typing

from ..protocol import commands
from ..protocol.commands import RESERVED_ON_SEND
from ..protocol.encode import encode_head, encode_headers

__all__ = ["MOST_ROUTES", "Route", "bare_route", "send_headers"]

#: How many routes a cache keeps.
MOST_ROUTES: typing.Final = 512
_LONGEST_KEPT = 2_048  # bytes of the header lines of one message


class Route:
    """A destination, a content type, and the standing headers of each message that takes this route.

    `encoded` is the command line and the header lines in STOMP 1.2. *check* may refuse headers that a message has for
    itself. Raises `InvalidFrame` for what no SEND may hold.
    """

    __slots__ = ("_check", "content_type", "destination", "encoded", "headers", "last")

    def __init__(
        self,
        destination: str,
        content_type: str | None,
        headers: dict[str, str] | None = None,
        check: typing.Callable[[typing.Mapping[str, str]], object] | None = None,
    ) -> None:
        self.destination = destination
        self.content_type = content_type
        self.headers = headers or {}
        self._check = check
        #: The headers that the last message had for itself, and their lines: in a loop the next one has the same.
        self.last: tuple[typing.Mapping[str, str], bytes] = ({}, b"")
        self.encoded = encode_head("SEND", send_headers(destination, content_type, self.headers), "1.2")

    def lines_of(self, own: typing.Mapping[str, str]) -> tuple[typing.Mapping[str, str], bytes]:
        """Return a copy of the headers that a message has for itself, and their lines. Raises `InvalidFrame`."""
        last = self.last
        if own == last[0]:
            return last
        if type(own) is not dict:
            send_headers(self.destination, None, own)  # raises, and says why
        own = dict(own)  # another thread of the application may change it
        if not RESERVED_ON_SEND.isdisjoint(own):
            send_headers(self.destination, None, own)
        if self._check is not None:
            self._check(own)
        lines = encode_headers(own, "SEND", "1.2")
        if len(lines) <= _LONGEST_KEPT:
            self.last = (own, lines)
        return own, lines


def send_headers(
    destination: str, content_type: str | None, headers: typing.Mapping[str, str] | None
) -> dict[str, str]:
    """Return all headers of a SEND but those that the encoder adds. Raises `InvalidFrame` for what none may have."""
    checked = commands.send(destination, b"", headers).headers
    # In the same order, whether they are the standing headers of a route or a message's own.
    return checked if content_type is None else {"destination": destination, "content-type": content_type, **checked}


#: The route of a destination and a content type that has no standing headers. The last ones are kept.
bare_route = functools.lru_cache(MOST_ROUTES)(Route)
