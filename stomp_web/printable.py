"""Text from elsewhere, made fit for a terminal and a log: it cannot control the one, nor forge a line of the other."""

from __future__ import annotations

__all__ = ["harmless"]

# Not printable for Python, and yet no harm to a terminal: no-break space, and the joiners of emoji and of some scripts.
_NO_HARM = "\u00a0\u200c\u200d"


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
