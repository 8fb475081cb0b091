"""The warnings about messages that no subscription of this client waits for.

Such messages are no fault of the program: the answers of a temporary queue of RabbitMQ come with a subscription id that
the client did not choose, and after an UNSUBSCRIBE those come that were on their way. There may be very many of them,
so each subscription is named once.
"""

from __future__ import annotations

from .._internal.log import GuardedLogger
from .._internal.printable import short_repr
from ..protocol import Frame

__all__ = ["UnclaimedWarnings"]

_MOST = 100  # subscriptions that are named


class UnclaimedWarnings:
    """Warns of the first message of each unknown subscription, and of no more than 100 of these."""

    def __init__(self, log: GuardedLogger) -> None:
        self._log = log
        self._named: set[str | None] = set()

    def warn(self, frame: Frame) -> None:
        """*frame* is dropped: say so, if that is new."""
        subscription = frame.headers.get("subscription")
        if len(self._named) >= _MOST or subscription in self._named:
            return
        self._named.add(subscription)
        self._log.warning(
            "a message from %s has the subscription id %s, which this client does not know; it was dropped, and so are "
            "all later ones with that id",
            short_repr(frame.headers.get("destination")),
            short_repr(subscription),
        )
