"""Functions that make text safe to print. Unsafe text could control a terminal or forge a log line."""

from __future__ import annotations

import re

__all__ = ["harmless", "sentence", "short_repr", "without_outcome"]

_LONGEST_REPR = 200  # characters

# `isprintable` excludes these, but terminals handle them: no-break space, joiners of emoji and of some scripts.
_SAFE = "\u00a0\u200c\u200d"

# The part of an error that tells the outcome of the message.
_OUTCOME = re.compile(r"(?:[;,] |\. )(?:nothing was sent|whether [a-z ]+ arrived is not known)\b", re.IGNORECASE)


def sentence(text: object) -> str:
    """Return *text* as a sentence. Add a full stop if *text* does not end with ``.``, ``?`` or ``!``."""
    words = str(text).rstrip()
    return words if words.endswith((".", "?", "!")) else f"{words}."


def without_outcome(text: str) -> str:
    """Return the error text *text* without a part such as "nothing was sent". The caller states the outcome itself."""
    return _OUTCOME.sub("", text)


def harmless(text: str, *, lines: bool = True) -> str:
    """Return *text* with escapes instead of characters that could control a terminal or hide other characters.

    Line ends and tabs stay if *lines* is true.
    """
    if text.isprintable():
        return text
    kept = _SAFE + "\n\t" if lines else _SAFE
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )


def short_repr(value: object) -> str:
    """Return the first 200 characters of ``repr(value)``. If ``repr`` fails, return a text with the type's name."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the value's own code may raise anything, an int of 4,301 digits ValueError
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
