"""The common part of the commands that run a worker: ``stomp-web worker``, ``flask stomp worker``, ``stomp_worker``.

While a command runs, the log of stomp-web is shown on standard error, together with the progress line, unless the
program's own code has set up logging.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import typing

from .._internal.log import get_logger
from .._internal.streams import TolerantStream, keep_descriptors, settle
from .progress import ProgressLine
from .worker import Worker

__all__ = ["run_worker"]

_log = get_logger("worker")
_root = logging.getLogger("stomp_web")


def run_worker(
    worker: Worker,
    *,
    concurrency: int | None = None,
    processes: int | None = None,
    stream: typing.TextIO | None = None,
) -> int:
    """Run *worker* with a progress line and its log on *stream*, and return the exit code for the program.

    * *concurrency*, *processes* - set those of the worker; ``None`` leaves them as they are.
    * *stream* - where progress and log go; ``None`` means standard error.

    A standard stream that is closed, full, or a pipe without a reader does not end the worker, and fails no message:
    the output of handlers is lost then, and the log says so.

    The code is that of `Worker.run`, or 130 after a second Ctrl-C. Raises what `Worker.run` raises.
    """
    if concurrency is not None:
        worker.concurrency = concurrency
    if processes is not None:
        worker.processes = processes
    keep_descriptors()
    line = ProgressLine(sys.stderr if stream is None else stream)
    initializer = None
    with contextlib.ExitStack() as stack:
        stack.callback(settle, sys.stdout, sys.stderr)
        stack.enter_context(contextlib.redirect_stderr(_tolerant(sys.stderr)))
        if not _logging_is_set_up():
            stack.callback(_root.setLevel, _root.level)
            stack.callback(_root.removeHandler, line)
            _begin_logging(line)
            initializer = _begin_process
        stack.enter_context(contextlib.redirect_stdout(_for_handlers(line, sys.stdout)))
        stack.callback(line.finish)
        try:
            return worker.run(on_progress=line, initializer=initializer)
        except (KeyboardInterrupt, SystemExit) as stopped:  # the second SIGINT or SIGTERM
            _log.warning("stopped at once; messages that were being handled will come again")
            if isinstance(stopped, SystemExit):
                raise
            return 130


def _for_handlers(line: ProgressLine, stream: typing.TextIO | None) -> typing.TextIO:
    """Return *stream* for the output of handlers: above the *line*, and without errors that would fail a message."""
    return _tolerant(line.above(stream), _warn_of_lost_output)


def _tolerant(
    stream: typing.TextIO | None, on_failure: typing.Callable[[OSError], object] | None = None
) -> typing.TextIO:
    return typing.cast(typing.TextIO, TolerantStream(stream, on_failure))


def _warn_of_lost_output(error: OSError) -> None:
    _log.warning("standard output cannot be written (%s): what handlers print is lost", error.strerror)


def _logging_is_set_up() -> bool:
    """Whether the program has set up a handler for the worker's log."""
    logger: logging.Logger | None = _log.logger
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _begin_logging(handler: logging.Handler) -> None:
    """Show the log of stomp-web on *handler*, from INFO on unless the program has set another level."""
    if _root.level == logging.NOTSET:
        _root.setLevel(logging.INFO)
    _root.addHandler(handler)


def _begin_process() -> None:
    """Let a process of the worker log and print as this one does."""
    # On a terminal, it clears the parent's progress line before it writes. It shows no progress of its own.
    line = ProgressLine(sys.stderr)
    _begin_logging(line)
    sys.stderr = _tolerant(sys.stderr)
    sys.stdout = _for_handlers(line, sys.stdout)
