"""``stomp-web ping``: whether a broker answers, how fast, and which one it is."""

from __future__ import annotations

from ..publisher import Publisher
from ..publisher.command import check_broker
from .display import report

__all__ = ["run"]


def run(url: str, *, timeout: float | None) -> int:
    """Check that the broker answers within *timeout* seconds (``None``: the option's, 5).

    Raises `StompError` if it does not, and `ConfigurationError` for an address that cannot be used.
    """
    with Publisher(url) as publisher:
        report(check_broker(publisher, timeout))
    return 0
