"""Functions for the shell commands that send a message or check the broker. For workers, see `worker.command`."""

from __future__ import annotations

import typing

from ..errors import ConfigurationError, InvalidFrame, StompError
from ..serializers import typed_payload
from .publisher import Publisher

__all__ = ["check_broker", "never_succeeds", "send_body"]


def send_body(
    publisher: Publisher, destination: str, body: str, serializer: str | None, notify: typing.Callable[[str], object]
) -> str:
    """Send *body*, and return the id of the message. Raises the errors of `Publisher.send`.

    If *serializer* is ``None``, a JSON body is sent as JSON. Any other body is sent as text, and the function calls
    *notify* with a line for the user.
    """
    payload, name = typed_payload(body, serializer)
    if name == "text" and serializer is None:
        notify("The body is not JSON, and is sent as text.")
    return publisher.send(destination, payload, serializer=name)


def check_broker(publisher: Publisher, timeout: float | None) -> str:
    """Return a line that says how long the broker took to answer. Raises `StompError` if the broker did not answer."""
    health = publisher.check(timeout)
    if not health:
        raise StompError(str(health))
    return str(health)


def never_succeeds(error: Exception) -> bool:
    """Return whether a command that failed with *error* would always fail. If so, the exit status is 2 instead of 1."""
    return isinstance(error, ConfigurationError | InvalidFrame)
