"""The common part of the commands that run a worker: their log and progress line, and what handlers print.

``stomp-web worker``, ``flask stomp worker`` and ``manage.py stomp_worker`` show the log of stomp-web on standard error,
unless the program's own code has set up logging.
"""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import os
import sys
import time
import typing

from .._internal.log import get_logger
from .._internal.printable import harmless
from .._internal.streams import TolerantStream, keep_descriptors, settle
from .stats import WorkerStats
from .worker import Worker

__all__ = ["ProgressLine", "run_worker"]

_log = get_logger("worker")
_root = logging.getLogger("stomp_web")

_WINDOW = 10.0  # seconds over which the rate is taken
_CLEAR = "\r\x1b[K"


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
    text = "standard output cannot be written (%s): what handlers print is lost"
    return _tolerant(line.above(stream), lambda error: _log.warning(text, error.strerror))


def _tolerant(
    stream: typing.TextIO | None, on_failure: typing.Callable[[OSError], object] | None = None
) -> typing.TextIO:
    return typing.cast(typing.TextIO, TolerantStream(stream, on_failure))


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


class ProgressLine(logging.Handler):
    """A line that is written over and over; as a logging handler, it writes log records above the line.

    Give it to `Worker.run` as *on_progress*. If *stream* is no terminal, only log records are written. Where it cannot
    write, it writes nothing: *stream* may be full or closed, or ``None``, as `sys.stderr` in a program without one.
    """

    # Each text is written by one call, which a stream does not divide. So it needs no lock of its own, which a child of
    # a handler would inherit, and in which a signal handler that logs would wait for itself.

    def __init__(self, stream: typing.TextIO | None) -> None:
        super().__init__()
        self._stream = TolerantStream(stream)
        self._terminal = self._stream.isatty()
        self._line = ""
        self._seen: collections.deque[tuple[float, int]] = collections.deque()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __call__(self, stats: WorkerStats) -> None:
        """Show *stats*."""
        if self._terminal:
            self._line = line = self.text(stats)[: self._columns() - 1]
            self._stream.write(_CLEAR + line)
            self._stream.flush()
            if self._stream.failure is not None:  # the terminal was closed, which is no reason to stop working
                self._terminal = False

    def text(self, stats: WorkerStats) -> str:
        """Return the line, without an end."""
        state = "" if stats.connected else "not connected; "
        return (
            f"{state}received {stats.received}, handled {stats.handled}, failed {stats.failed}, "
            f"in flight {stats.in_flight}, {self._rate(stats.handled):.1f}/s"
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log record above the line."""
        try:
            text = harmless(self.format(record))
            self._stream.write(f"{_CLEAR}{text}\n{self._line}" if self._terminal else f"{text}\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - logging's own way to deal with it
            self.handleError(record)

    def above(self, stream: typing.TextIO | None) -> typing.TextIO | None:
        """Return *stream* so that text that is written there stands above the line, and is not held back.

        If there is no terminal, that is *stream* itself, from which each line goes out at once: otherwise the
        output of handlers would appear in a log file only when the worker ends.
        """
        if stream is not None and self._terminal and stream.isatty():
            return typing.cast(typing.TextIO, _Above(stream))
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # it writes what is buffered
                stream.reconfigure(line_buffering=True)
        return stream

    def finish(self) -> None:
        """End the line, so that later output begins on a new one."""
        line, self._line = self._line, ""
        if line and self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):  # no descriptor, or one that is no terminal
            return 80

    def _rate(self, handled: int) -> float:
        now = time.monotonic()
        self._seen.append((now, handled))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        first, count = self._seen[0]
        return (handled - count) / (now - first) if now > first else 0.0


class _Above:
    """A terminal on which handlers print: a line begins where the progress line was."""

    def __init__(self, stream: typing.TextIO) -> None:
        self._stream = stream
        self._begins = True

    def write(self, text: str) -> int:
        if text:
            self._stream.write(_CLEAR + text if self._begins else text)
            self._stream.flush()
            self._begins = text.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._stream, name)
