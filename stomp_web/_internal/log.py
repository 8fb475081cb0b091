"""The loggers of the library: silent unless the application has set up logging, and never the cause of a failure."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import typing

__all__ = ["GuardedLogger", "get_logger", "report_logging_error"]

logging.getLogger("stomp_web").addHandler(logging.NullHandler())


class GuardedLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods raise no `Exception` of the application's filters, formatters and handlers.

    Such an exception is reported on standard error, as `logging` does for an exception in a handler's ``emit``.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: typing.Any) -> None:
        try:
            # The stack level of the caller, because this frame is not one of `logging`'s own.
            self.logger.log(level, msg, *args, **{"stacklevel": 2, **kwargs})
        except Exception:  # noqa: BLE001 - an application's filter, formatter or handler may raise any exception
            report_logging_error()


def get_logger(name: str) -> GuardedLogger:
    """Return the logger ``stomp_web.NAME``, guarded."""
    return GuardedLogger(logging.getLogger(f"stomp_web.{name}"), {})


def report_logging_error() -> None:
    """Show the present exception as `logging.Handler.handleError` does, unless such reports are turned off."""
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):  # the exception's own text may raise, and standard error may be closed
            sys.stderr.write("--- Logging error of stomp_web ---\n")
            traceback.print_exc(file=sys.stderr)
