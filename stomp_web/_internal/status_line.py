"""The common part of long-running commands: a log, and a progress line if standard error is a terminal."""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import os
import sys
import time
import typing

from .printable import harmless
from .streams import TolerantStream, keep_descriptors, settle

__all__ = ["StatusLine", "begin_logging", "logging_is_set_up"]

_root = logging.getLogger("stomp_web")

_WINDOW = 10.0  # seconds over which the rate is measured
_CLEAR = "\r\x1b[K"


def logging_is_set_up(log: logging.Logger | logging.LoggerAdapter[typing.Any]) -> bool:
    """Return whether the program has set up a handler for *log*."""
    logger: logging.Logger | None = log.logger if isinstance(log, logging.LoggerAdapter) else log
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def begin_logging(handler: logging.Handler) -> typing.Callable[[], object]:
    """Send the log of stomp-web to *handler*. If the program has set no level, the level becomes INFO.

    Returns a function that restores the earlier state.
    """
    level = _root.level
    if level == logging.NOTSET:
        _root.setLevel(logging.INFO)
    _root.addHandler(handler)

    def end() -> None:
        _root.removeHandler(handler)
        _root.setLevel(level)

    return end


class StatusLine(logging.Handler):
    """A logging handler that writes log records above a progress line. A new progress text overwrites the old text.

    A subclass defines `text`. If *stream* is not a terminal, only log records are written. If *stream* is ``None``,
    full or closed, nothing is written. `sys.stderr` is ``None`` in a program without standard error.
    """

    # A text is written by one call, which a stream does not split. So no lock is needed. A forked child would inherit
    # a lock, and a signal handler that logs could wait for its own thread.

    def __init__(self, stream: typing.TextIO | None) -> None:
        super().__init__()
        self._stream = TolerantStream(stream)
        self._terminal = self._stream.isatty()
        self._line = ""
        self._seen: collections.deque[tuple[float, int]] = collections.deque()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __call__(self, stats: typing.Any) -> None:
        """Show *stats* in the progress line."""
        if self._terminal:
            self._line = line = self.text(stats)[: self._columns() - 1]
            self._stream.write(_CLEAR + line)
            self._stream.flush()
            if self._stream.failure is not None:  # the terminal was closed; the command goes on
                self._terminal = False

    def text(self, stats: typing.Any) -> str:
        """Return the text of the progress line for *stats*, without a line end."""
        raise NotImplementedError

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record* above the progress line."""
        try:
            text = harmless(self.format(record))
            self._stream.write(f"{_CLEAR}{text}\n{self._line}" if self._terminal else f"{text}\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - logging's own way to deal with it
            self.handleError(record)

    def above(self, stream: typing.TextIO | None) -> typing.TextIO | None:
        """Return a stream to use instead of *stream*. Output to the new stream appears at once above the progress line.

        Without a terminal, return *stream* itself with line buffering. Without line buffering, the output of message
        handlers would appear in a log file only when the worker ends.
        """
        if stream is not None and self._terminal and stream.isatty():
            return typing.cast(typing.TextIO, _Above(stream))
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # this also writes the buffered text
                stream.reconfigure(line_buffering=True)
        return stream

    @contextlib.contextmanager
    def shown(self, log: logging.LoggerAdapter[typing.Any]) -> typing.Iterator[bool]:
        """Show log records above the progress line, unless the program has set up a handler for the logger *log*.

        Yields whether the records are shown there. In the ``with`` block, writing to `sys.stderr` never fails, even if
        the stream is closed, full or a broken pipe.
        """
        keep_descriptors()
        begins = not logging_is_set_up(log)
        with contextlib.ExitStack() as stack:
            stack.callback(settle, sys.stdout, sys.stderr)
            stack.enter_context(contextlib.redirect_stderr(typing.cast(typing.TextIO, TolerantStream(sys.stderr))))
            if begins:
                stack.callback(begin_logging(self))
            stack.callback(self.finish)
            yield begins

    def finish(self) -> None:
        """End the progress line. Later output begins on a new line."""
        line, self._line = self._line, ""
        if line and self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):  # no descriptor, or it is not a terminal
            return 80

    def rate(self, count: int) -> float:
        """Return a counter's average growth per second over the last ten seconds. *count* is the counter's value."""
        now = time.monotonic()
        self._seen.append((now, count))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        first, before = self._seen[0]
        return (count - before) / (now - first) if now > first else 0.0


class _Above:
    """A terminal stream. New output overwrites the progress line.

    The next update shows the progress line again, below the output.
    """

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
