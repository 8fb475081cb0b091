"""The end of a child process that a handler has forked.

The child has a copy of the worker's connection, its messages, and the pipe to its parent. In the worker's code it would
acknowledge messages and take others, beside its parent. So it ends where the handler ends.
"""

from __future__ import annotations

import contextlib
import os
import sys

from .error_text import traceback_text

__all__ = ["ForkGuard"]

_STANDARD_ERROR = 2


class ForkGuard:
    """No other process than the one that has made the guard leaves its block: a forked child ends there."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __enter__(self) -> ForkGuard:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if os.getpid() != self._process:
            _exit(error)


def _exit(error: BaseException | None) -> None:
    """End this process with 0, with the code of a `SystemExit`, or with 1 and a traceback.

    Only the standard streams are flushed: ``finally`` blocks and ``atexit`` functions are the parent's.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = _exit_code(error)
    else:
        if error is not None:
            code = 1
            _write(traceback_text(error))
        _write(
            f"stomp-web: process {os.getpid()}, which a handler has forked, returned from the handler, and ends here; "
            "the message is its parent's. End such a process with os._exit() or sys.exit()."
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
    _write(str(error.code))
    return 1


def _write(text: str) -> None:
    # Not by `logging`: the thread that held the lock of one of its handlers does not exist in this process.
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, f"{text}\n".encode(errors="backslashreplace"))
