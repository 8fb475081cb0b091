"""Errors and ids as plain text of limited length. The text can be logged and sent, and cannot forge a log line.

The text of an exception may come from the application's ``__str__`` or ``__notes__``, or from the name of the class.
The application's code may raise, or may return a very long text or a subclass of ``str``.
"""

from __future__ import annotations

import traceback
import types

from .._internal.printable import harmless

__all__ = ["error_in_one_line", "short_text", "traceback_text"]

_LONGEST_TEXT = 500  # characters of an error or an id in a log line or a header
_LONGEST_LINE = 10_000
_LONGEST_TRACEBACK = 100_000


def short_text(text: str) -> str:
    """Return *text* in one line of at most 500 characters. All control characters are escaped."""
    text = harmless(text, lines=False)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def error_in_one_line(error: BaseException) -> str:
    """Return the class and the text of *error*, in one line."""
    kind = _kind(error)
    try:
        text = " ".join(_plain(str(error))[:_LONGEST_LINE].split())
    except BaseException as another:  # noqa: BLE001 - a second exception must not hide the first one
        text = f"(its text cannot be shown: __str__ raised {_kind(another)})"
    return f"{kind}: {text}" if text else kind


def traceback_text(error: BaseException, own_file: str | None = None) -> str:
    """Return the traceback of *error* as Python prints it, but without the outermost frames that are in *own_file*."""
    try:
        inside = _traceback(error)
        while inside is not None and inside.tb_frame.f_code.co_filename == own_file:
            inside = inside.tb_next
        text = _plain("".join(traceback.format_exception(type(error), error, inside)).rstrip())
    except BaseException as another:  # noqa: BLE001 - a property of the exception may raise, such as __notes__
        text = _frames(error) + f"{error_in_one_line(error)}\n(the rest cannot be shown: {_kind(another)} was raised)"
    if len(text) > _LONGEST_TRACEBACK:
        half = _LONGEST_TRACEBACK // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return text


def _frames(error: BaseException) -> str:
    try:
        return "Traceback (most recent call last):\n" + _plain("".join(traceback.format_tb(_traceback(error))))
    except BaseException:  # noqa: BLE001 - the loader of the source code may raise, too
        return ""


def _traceback(error: BaseException) -> types.TracebackType | None:
    # Use the attribute of the base class, because a subclass may hide it with a property.
    return BaseException.__dict__["__traceback__"].__get__(error)  # type: ignore[no-any-return]


def _kind(error: BaseException) -> str:
    # Use the attribute of the metaclass `type`, because another metaclass may hide it with a property.
    return _plain(type.__dict__["__name__"].__get__(type(error)))


def _plain(text: str) -> str:
    """Return *text* as a plain ``str``. Lone surrogates are escaped, because a log file cannot encode them."""
    return str.encode(text, "utf-8", "backslashreplace").decode()
