"""An exception as text, though it may bring code of its own.

The exception comes from a handler, and everything about it may be the application's code: ``__str__``, ``__notes__``,
the traceback, the name of its class. Each of these may raise, return a subclass of ``str``, or be very long. The result
is a plain ``str`` of bounded length, so that it can be logged, pickled and put into a header.
"""

from __future__ import annotations

import traceback
import types

__all__ = ["error_in_one_line", "traceback_text"]

_LONGEST_LINE = 10_000  # characters
_LONGEST_TRACEBACK = 100_000


def error_in_one_line(error: BaseException) -> str:
    """Return the class of *error* and its text, in one line."""
    kind = _kind(error)
    try:
        text = " ".join(_plain(str(error))[:_LONGEST_LINE].split())
    except BaseException as another:  # noqa: BLE001 - whatever it is, it is no reason to lose the first one
        text = f"(its text cannot be shown: __str__ raised {_kind(another)})"
    return f"{kind}: {text}" if text else kind


def traceback_text(error: BaseException, own_files: frozenset[str]) -> str:
    """Return the traceback of *error* as Python prints it, without the outer frames that belong to *own_files*."""
    try:
        inside = _traceback(error)
        while inside is not None and inside.tb_frame.f_code.co_filename in own_files:
            inside = inside.tb_next
        text = _plain("".join(traceback.format_exception(type(error), error, inside)).rstrip())
    except BaseException as another:  # noqa: BLE001 - a property of the exception raises, for example __notes__
        text = _frames(error) + f"{error_in_one_line(error)}\n(the rest cannot be shown: {_kind(another)} was raised)"
    if len(text) > _LONGEST_TRACEBACK:
        half = _LONGEST_TRACEBACK // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return text


def _frames(error: BaseException) -> str:
    """The traceback without the exception itself."""
    try:
        return "Traceback (most recent call last):\n" + _plain("".join(traceback.format_tb(_traceback(error))))
    except BaseException:  # noqa: BLE001 - the source of a frame comes from a loader that may raise, too
        return ""


def _traceback(error: BaseException) -> types.TracebackType | None:
    # The attribute of the base class: a subclass may hide it by a property of its own.
    return BaseException.__dict__["__traceback__"].__get__(error)  # type: ignore[no-any-return]


def _kind(error: BaseException) -> str:
    # The attribute of the metaclass `type`, for the same reason.
    return _plain(type.__dict__["__name__"].__get__(type(error)))


def _plain(text: str) -> str:
    """*text* as a ``str`` itself, without half characters.

    A subclass may bring methods of its own, and a class that another process has not. Half of a surrogate pair cannot
    be encoded, so a log file would get nothing of it.
    """
    return str.encode(text, "utf-8", "backslashreplace").decode()
