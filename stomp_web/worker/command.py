"""The common part of the commands that run a worker: their log and progress line, and what handlers print.

``stomp-web worker``, ``flask stomp worker`` and ``manage.py stomp_worker`` show the log of stomp-web on standard error,
unless the program's own code has set up logging.
"""

from __future__ import annotations

import contextlib
import sys
import typing

from .._internal.log import get_logger
from .._internal.status_line import StatusLine, begin_logging, logging_is_set_up
from .._internal.streams import TolerantStream, keep_descriptors, settle
from .stats import WorkerStats
from .worker import Worker

__all__ = ["ProgressLine", "run_worker"]

_log = get_logger("worker")


def run_worker(
    worker: Worker, *, concurrency: int | None = None, processes: int | None = None, stream: typing.TextIO | None = None
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
        if not logging_is_set_up(_log):
            stack.callback(begin_logging(line))
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
    text = "standard output cannot be written (%s): what handlers print is lost"
    return _tolerant(line.above(stream), lambda error: _log.warning(text, error.strerror))


def _tolerant(
    stream: typing.TextIO | None, on_failure: typing.Callable[[OSError], object] | None = None
) -> typing.TextIO:
    return typing.cast(typing.TextIO, TolerantStream(stream, on_failure))


def _begin_process() -> None:
    """Let a process of the worker log and print as this one does."""
    # On a terminal, it clears the parent's progress line before it writes. It shows no progress of its own.
    line = ProgressLine(sys.stderr)
    begin_logging(line)
    sys.stderr = _tolerant(sys.stderr)
    sys.stdout = _for_handlers(line, sys.stdout)


class ProgressLine(StatusLine):
    """The progress of a worker: give it to `Worker.run` as *on_progress*.

    On a terminal, the line is written over and over. As a logging handler, it writes log records above the line; if
    *stream* is no terminal, it writes only those. Where it cannot write, it writes nothing: *stream* may be full or
    closed, or ``None``, as `sys.stderr` in a program without one.
    """

    def text(self, stats: WorkerStats) -> str:
        """Return the line, without an end."""
        state = "" if stats.connected else "not connected; "
        return (
            f"{state}received {stats.received}, handled {stats.handled}, failed {stats.failed}, "
            f"in flight {stats.in_flight}, {self.rate(stats.handled):.1f}/s"
        )
