"""The loggers of the library. They are silent until the application sets up logging, and never raise."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import typing

__all__ = ["GuardedLogger", "get_logger", "report_logging_error"]

logging.getLogger("stomp_web").addHandler(logging.NullHandler())


class GuardedLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods suppress each `Exception` of the application's filters, formatters and handlers.

    Such an exception is reported on standard error, as `logging` does for an exception in a handler's ``emit``.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: typing.Any) -> None:
        try:
            # 2, because `logging` does not skip this frame when it looks for the caller.
            self.logger.log(level, msg, *args, **{"stacklevel": 2, **kwargs})
        except Exception:  # noqa: BLE001 - an application's filter, formatter or handler may raise any exception
            report_logging_error()


def get_logger(name: str) -> GuardedLogger:
    """Return a `GuardedLogger` for the logger ``stomp_web.NAME``."""
    return GuardedLogger(logging.getLogger(f"stomp_web.{name}"), {})


def report_logging_error() -> None:
    """Print the current exception like `logging.Handler.handleError`, unless such reports are turned off."""
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):  # the exception's `str` may raise, and standard error may be closed
            sys.stderr.write("--- Logging error of stomp_web ---\n")
            traceback.print_exc(file=sys.stderr)
