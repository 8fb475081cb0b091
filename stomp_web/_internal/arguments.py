"""Values on the command line that every command reads in the same way, by argparse or by click."""

from __future__ import annotations

import argparse

__all__ = ["seconds"]


def seconds(text: str) -> float:
    """Return a time in seconds. Raises `argparse.ArgumentTypeError` if *text* is none that can be waited."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return value
