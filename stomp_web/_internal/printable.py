"""Text from elsewhere, made fit for a terminal and a log: it cannot control the one, nor forge a line of the other."""

from __future__ import annotations

import re

__all__ = ["harmless", "sentence", "short_repr", "without_outcome"]

_LONGEST_REPR = 200  # characters

# Not printable for Python, and yet no harm to a terminal: no-break space, and the joiners of emoji and of some scripts.
_NO_HARM = "\u00a0\u200c\u200d"


# What an error says of the message's outcome, where that is not all that it says.
_OUTCOME = re.compile(r"(?:[;,] |\. )(?:nothing was sent|whether [a-z ]+ arrived is not known)\b", re.IGNORECASE)


def sentence(text: object) -> str:
    """Return *text* with a full stop at its end, unless it has a mark there: another sentence can follow."""
    words = str(text).rstrip()
    return words if words.endswith((".", "?", "!")) else f"{words}."


def without_outcome(text: str) -> str:
    """Return the *text* of an error without what it says of the outcome, for where that was said before."""
    return _OUTCOME.sub("", text)


def harmless(text: str, *, lines: bool = True) -> str:
    """Return *text* with every character escaped that could control a terminal, or hide others.

    Line ends and tabs stay, unless *lines* is false.
    """
    if text.isprintable():
        return text
    kept = _NO_HARM + "\n\t" if lines else _NO_HARM
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )


def short_repr(value: object) -> str:
    """Return ``repr(value)`` for an error, at most 200 characters of it.

    Python refuses to print an ``int`` of more than 4,300 digits, and a value's own ``__repr__`` may raise: its type is
    named then.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a value's own code may raise anything, and the error is about the value
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
