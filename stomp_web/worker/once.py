"""Run a handler once for each message, however often it comes: in a transaction with a row that names the message."""

from __future__ import annotations

import hashlib
import typing

from .handlers import Function, ReceivedMessage, Reject

__all__ = ["OnceInbox", "bounded", "check_identity"]

_MOST: typing.Final = 255  # characters of a column


class OnceInbox(typing.Protocol):
    """Where a worker's handlers with ``once=True`` run: an inbox of `stomp_web.sqlalchemy` or `stomp_web.django`."""

    #: With how many arguments the inbox calls a handler.
    arguments: int

    def run(self, handler: str, identity: str, function: Function, message: ReceivedMessage) -> object:
        """Call *function* in a transaction together with the row for *handler* and *identity*.

        If the row is there already, returns ``None`` without calling *function*. Raises what *function* raises, after
        a rollback.
        """


def check_identity(identity: str) -> str:
    """Return the id of a message for the inbox. Raises `Reject` if it is empty, because no copy could be recognized."""
    if not identity:
        raise Reject(
            "a handler with once=True needs an id that is the same at each delivery: the sender sets the header "
            "x-message-id, as a Publisher does"
        )
    return identity


def bounded(name: str) -> str:
    """Return *name*, or its hash, for a column of an inbox.

    A name is hashed if it is very long, or if a database could take it for another name: MySQL compares without case,
    and without blanks at the end.
    """
    safe = len(name) <= _MOST and name.isascii() and name == name.lower().strip()
    return name if safe else hashlib.sha256(name.encode(errors="replace")).hexdigest()
