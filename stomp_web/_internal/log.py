"""The loggers of the library. If logging raises an `Exception`, the logger prints it on standard error.

The loggers are silent until the application sets up logging.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import typing

__all__ = ["GuardedLogger", "get_logger", "report_logging_error"]

logging.getLogger("stomp_web").addHandler(logging.NullHandler())


class GuardedLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that suppresses every `Exception` of the application's filters, formatters and handlers.

    The logger reports the exception on standard error. `logging` does the same for an exception in ``Handler.emit``.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: typing.Any) -> None:
        try:
            # 2, because `logging` does not skip this frame when it looks for the caller.
            self.logger.log(level, msg, *args, **{"stacklevel": 2, **kwargs})
        except Exception:  # noqa: BLE001 - an application's filter, formatter or handler may raise any exception
            report_logging_error()


def get_logger(name: str) -> GuardedLogger:
    """Return the `GuardedLogger` with the name ``stomp_web.NAME``."""
    return GuardedLogger(logging.getLogger(f"stomp_web.{name}"), {})


def report_logging_error() -> None:
    """Print the current exception on standard error. Do nothing if ``logging.raiseExceptions`` is false."""
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):  # the exception's `str` may raise, and standard error may be closed
            sys.stderr.write("--- Logging error of stomp_web ---\n")
            traceback.print_exc(file=sys.stderr)
