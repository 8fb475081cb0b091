"""The common part of the commands that send a message or check the broker. For workers, see `worker.command`."""

from __future__ import annotations

import typing

from ..errors import ConfigurationError, InvalidFrame, StompError
from ..serializers import typed_payload
from .publisher import Publisher

__all__ = ["check_broker", "never_succeeds", "send_body"]


def send_body(
    publisher: Publisher, destination: str, body: str, serializer: str | None, notify: typing.Callable[[str], object]
) -> str:
    """Send *body*, and return the message's id. Raises what `Publisher.send` raises.

    If *serializer* is ``None``, a body that is JSON is sent as JSON. A body that is not JSON is sent as text, and
    *notify* is called with a line for the user.
    """
    payload, name = typed_payload(body, serializer)
    if name == "text" and serializer is None:
        notify("The body is not JSON, and is sent as text.")
    return publisher.send(destination, payload, serializer=name)


def check_broker(publisher: Publisher, timeout: float | None) -> str:
    """Return a line with the time that the broker took to answer. Raises `StompError` if it did not answer."""
    health = publisher.check(timeout)
    if not health:
        raise StompError(str(health))
    return str(health)


def never_succeeds(error: Exception) -> bool:
    """Whether a command that failed with *error* would always fail. Its exit status is then 2, otherwise 1."""
    return isinstance(error, ConfigurationError | InvalidFrame)
