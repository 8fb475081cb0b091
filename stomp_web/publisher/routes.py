"""A `Route` holds the headers that many messages share. `own_headers` returns the other headers of a message."""

from __future__ import annotations

import functools
import typing

from .._internal.printable import short_repr
from .._internal.unsendable import check_destination, check_headers
from ..client.message import MOST_ROUTES, Route
from ..errors import InvalidFrame

__all__ = ["make_routes", "own_headers"]


def own_headers(
    headers: typing.Mapping[str, str] | None,
    of_serializer: typing.Mapping[str, str],
    persistent: bool | None,
    priority: int | None,
    correlation_id: str | None,
    reply_to: str | None,
) -> dict[str, str]:
    """Return the headers that a message has in addition to the headers of its route.

    *of_serializer* contains the headers that the serializer adds. These headers, *correlation_id* and *reply_to*
    override *headers*. If *persistent* or *priority* is not ``None``, the header with this name is removed, because
    the route decides on this header.
    """
    if headers is not None and type(headers) is not dict and not isinstance(headers, typing.Mapping):
        raise InvalidFrame(f"headers must be a mapping of str to str, not {type(headers).__name__}")
    own = dict(headers or ())
    if of_serializer:
        own.update(of_serializer)
    if correlation_id is not None:
        own["correlation-id"] = correlation_id
    if reply_to is not None:
        own["reply-to"] = reply_to
    if persistent is not None:
        own.pop("persistent", None)
    if priority is not None:
        own.pop("priority", None)
    return own


def make_routes(standing: dict[str, str], persistent_by_default: bool) -> typing.Any:
    """Return a function that makes a `Route` for a destination, a content type and options.

    *standing* contains the headers that all routes share. An option can override a header of *standing*.
    *persistent_by_default* is used if the option *persistent* is ``None``.
    """

    @functools.lru_cache(MOST_ROUTES, typed=True)  # True is not a priority, although it equals 1
    def route(
        destination: str, content_type: str | None, persistent: bool | None, priority: int | None, bare: bool = False
    ) -> Route:
        # A *bare* route has no headers. It is for a message whose own headers replace a header of the route.
        check_destination(destination)
        headers = dict(standing)
        if persistent is False:
            headers.pop("persistent", None)
        elif persistent:
            headers["persistent"] = "true"
        elif persistent_by_default:
            headers.setdefault("persistent", "true")
        if priority is not None:
            if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
                raise InvalidFrame(f"priority must be a whole number from 0 to 9, not {short_repr(priority)}")
            headers["priority"] = str(priority)
        return Route(destination, content_type, {} if bare else headers, check_headers)

    return route
