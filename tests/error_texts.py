"""Checks for the texts of all exceptions that stomp-web makes during a test."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from stomp_web import StompError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAULTS = {
    "a full stop twice": re.compile(r"(?<!\.)\.\.(?=\s|$)"),
    "a full stop before another mark": re.compile(r"\.[;,?!](?=\s|$)"),
    "two marks": re.compile(r"[;,:?!][;,.:](?=\s|$)"),
    "the same outcome twice": re.compile(
        r"nothing was sent.*nothing was sent|not sent: .*nothing was sent", re.I | re.S
    ),
}


def faults_in(text: str) -> list[str]:
    """What is wrong with the *text* of an error."""
    return [name for name, pattern in _FAULTS.items() if pattern.search(text)]


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """The texts of all exceptions of stomp-web that are made while the block runs, each once."""
    texts: list[str] = []

    def record(error: StompError, *args: Any, **_: Any) -> None:
        Exception.__init__(error, *args)
        if args and (text := str(args[0])) not in texts:  # once: tests measure memory
            texts.append(text)

    StompError.__init__ = record  # type: ignore[method-assign]
    try:
        yield texts
    finally:
        del StompError.__init__
