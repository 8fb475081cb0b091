"""The exceptions for a caller that gets no connection of the pool."""

from __future__ import annotations

from ..errors import PoolClosed, PoolTimeout

__all__ = ["is_closed", "line_is_full", "waited_in_vain"]


def is_closed(url: str) -> PoolClosed:
    """The exception for a caller that comes after `close`."""
    return PoolClosed(f"the pool for {url} is closed; nothing was sent", broker=url)


def line_is_full(url: str, max_size: int, waiting: int) -> PoolTimeout:
    """The exception for a caller that may not even wait."""
    return PoolTimeout(
        f"all {max_size} connections to {url} are in use and {waiting} callers wait already (max_waiting); nothing was "
        "sent. Try again, or raise pool_size.",
        broker=url,
    )


def waited_in_vain(url: str, max_size: int, seconds: float) -> PoolTimeout:
    """The exception for a caller that has waited *seconds*."""
    return PoolTimeout(
        f"all {max_size} connections to {url} were in use for {seconds:.3g} s; nothing was sent. Is the broker slow? "
        "Otherwise raise pool_size.",
        broker=url,
    )
