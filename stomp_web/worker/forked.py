"""The end of a child process that a handler has forked.

``os.fork()`` in a handler gives the child a copy of the worker's connection, its messages, and the pipe to its parent.
If the child returned from the handler into the worker's code, it would acknowledge messages and take others, beside its
parent. So it ends where the handler ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import typing

from .error_text import traceback_text

__all__ = ["exit_forked_child"]

_STANDARD_ERROR = 2


def exit_forked_child(error: BaseException | None) -> typing.NoReturn:
    """End this process as Python ends one: with 0, with the code of a `SystemExit`, or with 1 and a traceback.

    Nothing is run on the way out but a flush of the standard streams: neither ``finally`` blocks nor ``atexit``
    functions, which are the parent's.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = _exit_code(error)
    elif error is not None:
        code = 1
        _write(f"{traceback_text(error, frozenset())}\n")
    if not isinstance(error, SystemExit):
        _write(
            f"stomp-web: process {os.getpid()}, which a handler has forked, returned from the handler, and ends here; "
            "the message is its parent's. End such a process with os._exit() or sys.exit().\n"
        )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, full, None: the process ends anyhow
            stream.flush()
    os._exit(code)


def _exit_code(error: SystemExit) -> int:
    """The code for the operating system, by the rules of `sys.exit`."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    _write(f"{error.code}\n")
    return 1


def _write(text: str) -> None:
    # Not by `logging`: the thread that held the lock of one of its handlers does not exist in this process.
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, text.encode(errors="backslashreplace"))
