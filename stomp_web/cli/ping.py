"""``stomp-web ping``: whether a broker answers, how fast, and what it says of itself."""

from __future__ import annotations

from ..errors import StompError
from ..publisher import Publisher
from .display import report

__all__ = ["run"]


def run(url: str, *, timeout: float | None) -> int:
    """Ask the broker for a sign of life, in at most *timeout* seconds (``None``: the option's, 5).

    Raises `StompError` if it does not answer, and `ConfigurationError` for an address that cannot be used.
    """
    with Publisher(url) as publisher:
        health = publisher.check(timeout)
        if not health:
            raise StompError(str(health))
        report(str(health))
    return 0
