"""What command lines have alike, whether argparse or click reads them."""

from __future__ import annotations

import argparse
import typing

__all__ = ["CONCURRENCY", "PROCESSES", "seconds"]

#: The help of a worker's options in a framework. The gap is for the place of its settings.
CONCURRENCY: typing.Final = (
    "Handle up to N messages at once, each in a thread. Ignored if they are handled in processes. Default: that of {}, "
    "else 8."
)
PROCESSES: typing.Final = (
    "Handle messages in N processes instead, one at a time in each; 0 means in threads. Each process loads the "
    "application. Default: that of {}, else 0."
)


def seconds(text: str) -> float:
    """Return a time in seconds, greater than 0. Raises `argparse.ArgumentTypeError`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return value
