"""The common part of the commands that run a worker: the log, the progress line and the handlers' output."""

from __future__ import annotations

import contextlib
import sys
import typing

from .._internal.log import get_logger
from .._internal.status_line import StatusLine, begin_logging
from .._internal.streams import TolerantStream
from .supervisor import WorkerStats
from .worker import Worker

__all__ = ["ProgressLine", "messages_at_once", "run_worker"]

_log = get_logger("worker")


def run_worker(
    worker: Worker,
    *,
    concurrency: int | None = None,
    processes: int | None = None,
    health_port: int | tuple[str, int] | None = None,
    health_file: str | None = None,
    stream: typing.TextIO | None = None,
) -> int:
    """Run *worker*, and write a progress line to *stream* if it is a terminal. Default: standard error.

    If the program has set up no log handler, the log of this process also goes to *stream*. *concurrency* and
    *processes* replace the worker's own values. *health_port* and *health_file* are the *port* and the *file* of a
    `HealthServer`. If a standard stream is closed, is full or has no reader, its output is lost, but no message fails.
    The first write error of standard output is logged. Returns the exit code of `Worker.run`, or 130 after a second
    Ctrl-C. Raises the exceptions of `Worker.run` and of `HealthServer`.
    """
    if concurrency is not None:
        worker.concurrency = concurrency
    if processes is not None:
        worker.processes = processes
    line = ProgressLine(sys.stderr if stream is None else stream)
    with contextlib.ExitStack() as stack:
        begun = stack.enter_context(line.shown(_log))
        stack.enter_context(contextlib.redirect_stdout(_for_handlers(line, sys.stdout)))
        if health_port is not None or health_file is not None:  # only then, health checks are loaded
            from ..health import HealthServer
            from .health import WorkerHealth

            stack.enter_context(HealthServer(WorkerHealth(worker), port=health_port, file=health_file))
        try:
            return worker.run(on_progress=line, initializer=_begin_process if begun else None)
        except (KeyboardInterrupt, SystemExit) as stopped:  # the second SIGINT or SIGTERM
            _log.warning("stopped at once; messages that were being handled will come again")
            if isinstance(stopped, SystemExit):
                raise
            return 130


def messages_at_once(worker: Worker, concurrency: int | None, processes: int | None) -> int:
    """Return how many messages *worker* handles at a time. `run_worker` has the same arguments."""
    return (worker.processes if processes is None else processes) or (
        worker.concurrency if concurrency is None else concurrency
    )


def _for_handlers(line: ProgressLine, stream: typing.TextIO | None) -> typing.TextIO:
    """Return a stream that writes the handlers' output to *stream*, above *line*. A write error raises no exception."""
    text = "standard output cannot be written (%s): what handlers print is lost"
    tolerant = TolerantStream(line.above(stream), lambda error: _log.warning(text, error.strerror))
    return typing.cast(typing.TextIO, tolerant)


def _begin_process() -> None:
    """Prepare a process of the worker, so that the process logs and prints like its parent."""
    # On a terminal, the process clears the parent's progress line before it writes. It shows no progress of its own.
    line = ProgressLine(sys.stderr)
    begin_logging(line)
    sys.stderr = typing.cast(typing.TextIO, TolerantStream(sys.stderr))
    sys.stdout = _for_handlers(line, sys.stdout)


class ProgressLine(StatusLine):
    """A progress line for a worker. Pass the object to `Worker.run` as *on_progress*.

    On a terminal, each new progress line replaces the previous progress line. The object is also a logging handler, and
    log records appear above the line. If *stream* is no terminal, only log records are written. If *stream* is
    ``None`` or cannot be written to, for example because the disk is full, nothing is written.
    """

    def text(self, stats: WorkerStats) -> str:
        """Return the text of the line."""
        state = "" if stats.connected else "not connected; "
        return (
            f"{state}received {stats.received}, handled {stats.handled}, failed {stats.failed}, "
            f"in flight {stats.in_flight}, {self.rate(stats.handled):.1f}/s"
        )
