"""Text from a broker or a payload, made safe to print: it cannot control a terminal or forge a line of a log."""

from __future__ import annotations

import re

__all__ = ["harmless", "sentence", "short_repr", "without_outcome"]

_LONGEST_REPR = 200  # characters

# Not printable for Python, but safe for a terminal: no-break space, and the joiners of emoji and of some scripts.
_SAFE = "\u00a0\u200c\u200d"

# The part of an error that tells the outcome of the message.
_OUTCOME = re.compile(r"(?:[;,] |\. )(?:nothing was sent|whether [a-z ]+ arrived is not known)\b", re.IGNORECASE)


def sentence(text: object) -> str:
    """Return *text* with a full stop, unless it ends with ``.``, ``?`` or ``!``: another sentence can follow it."""
    words = str(text).rstrip()
    return words if words.endswith((".", "?", "!")) else f"{words}."


def without_outcome(text: str) -> str:
    """Return the *text* of an error without the outcome of the message, for a line that tells this outcome already."""
    return _OUTCOME.sub("", text)


def harmless(text: str, *, lines: bool = True) -> str:
    """Return *text*; every character that could control a terminal or hide other characters is escaped.

    Line ends and tabs stay, unless *lines* is false.
    """
    if text.isprintable():
        return text
    kept = _SAFE + "\n\t" if lines else _SAFE
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )


def short_repr(value: object) -> str:
    """Return ``repr(value)`` for an error, at most 200 characters of it; if ``repr`` fails, the name of the type."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the value's own code may raise anything, an int of 4,301 digits ValueError
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
